//! Parses TCP options.

use std::fmt;

use super::bytes::be32_at;
use crate::cookie::FastOpenCookie;
use crate::uapi::{
    TCP_FASTOPEN_COOKIE_MAX, TCP_FASTOPEN_COOKIE_MIN, TCPOPT_EXP, TCPOPT_FASTOPEN,
    TCPOPT_FASTOPEN_MAGIC,
};

/// End of the option list: one byte, without a length.
const KIND_END: u8 = 0;
/// No operation: one byte, without a length.
const KIND_NOP: u8 = 1;
const KIND_TIMESTAMPS: u8 = 8;

/// The kind of a fast open option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum FastOpenKind {
    /// Kind 34, assigned by RFC 7413.
    Standard,
    /// Kind 254 with the magic number `F989` (RFC 6994), which Linux tries if option 34 brought no cookie.
    Experimental,
}

impl FastOpenKind {
    /// Returns the word, as in text and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
        }
    }

    /// Returns the option's kind: 34 or 254.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Standard => TCPOPT_FASTOPEN,
            Self::Experimental => TCPOPT_EXP,
        }
    }
}

impl fmt::Display for FastOpenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A fast open option: a request for a cookie, or a cookie.
///
/// # References
/// - [RFC 7413, section 4.1.1](https://www.rfc-editor.org/rfc/rfc7413#section-4.1.1)
#[doc(alias = "TCPOPT_FASTOPEN")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct FastOpenOption {
    /// Option 34, or the experimental 254.
    pub kind: FastOpenKind,
    /// The cookie, 4 to 16 bytes; empty for a cookie request.
    #[cfg_attr(feature = "serde", serde(default))]
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^([0-9a-f]{2})*$")))]
    pub cookie: FastOpenCookie,
}

impl FastOpenOption {
    /// Returns whether the option asks for a cookie.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.cookie.is_empty()
    }
}

/// One TCP option, by its kind and raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TcpOption<'a> {
    kind: u8,
    body: &'a [u8],
}

impl<'a> TcpOption<'a> {
    /// Returns the option's kind, as assigned by IANA.
    #[must_use]
    pub(crate) const fn kind(&self) -> u8 {
        self.kind
    }

    /// Returns the bytes after kind and length; empty for NOP (1) and end-of-list (0), which have no length.
    #[must_use]
    pub(crate) const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Returns the option as a fast open option, if it is one.
    ///
    /// Returns `None` also for a cookie of odd length or outside 4 to 16 bytes, which the kernel ignores as well.
    #[must_use]
    pub(crate) fn fast_open(&self) -> Option<FastOpenOption> {
        let (kind, cookie) = match self.kind {
            TCPOPT_FASTOPEN => (FastOpenKind::Standard, self.body),
            TCPOPT_EXP => {
                (FastOpenKind::Experimental, self.body.strip_prefix(&TCPOPT_FASTOPEN_MAGIC)?)
            }
            _ => return None,
        };
        let valid = cookie.is_empty()
            || (cookie.len() % 2 == 0
                && (TCP_FASTOPEN_COOKIE_MIN..=TCP_FASTOPEN_COOKIE_MAX).contains(&cookie.len()));
        let cookie = FastOpenCookie::new(cookie).ok().filter(|_| valid)?;
        Some(FastOpenOption { kind, cookie })
    }
}

/// The options of a TCP header in their order.
///
/// The iteration ends after an end-of-list option (which is returned), at the end of the bytes, or after the first
/// error. Each step consumes at least one byte, so that the iteration is bounded.
///
/// # References
/// - [RFC 9293, section 3.1](https://www.rfc-editor.org/rfc/rfc9293#section-3.1)
#[derive(Debug, Clone)]
pub(crate) struct TcpOptions<'a> {
    rest: &'a [u8],
}

impl<'a> TcpOptions<'a> {
    /// Iterates over the bytes between a TCP header's fixed 20 bytes and its data.
    #[must_use]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the first valid fast open option.
    #[must_use]
    pub(crate) fn fast_open(self) -> Option<FastOpenOption> {
        self.map_while(Result::ok).find_map(|option| option.fast_open())
    }

    /// Returns the value of the first timestamps option (RFC 7323).
    #[must_use]
    pub(crate) fn tsval(self) -> Option<u32> {
        let mut valid = self.map_while(Result::ok);
        let option = valid.find(|option| option.kind == KIND_TIMESTAMPS)?;
        be32_at(option.body, 0).filter(|_| option.body.len() == 8)
    }

    /// Returns how many NOPs are at the end, or right before an end-of-list option.
    ///
    /// Linux pads its SYNs with up to three; more indicate that an option was overwritten on the path. Returns 0 if
    /// the options end in something malformed.
    #[must_use]
    pub(crate) fn trailing_nops(self) -> usize {
        let mut run = 0;
        for option in self {
            match option {
                Ok(TcpOption { kind: KIND_NOP, .. }) => run += 1,
                Ok(TcpOption { kind: KIND_END, .. }) => {}
                _ => run = 0,
            }
        }
        run
    }

    fn split_first(&mut self) -> Result<TcpOption<'a>, MalformedOption> {
        match *self.rest {
            [KIND_END, ..] => {
                self.rest = &[];
                Ok(TcpOption { kind: KIND_END, body: &[] })
            }
            [KIND_NOP, ref rest @ ..] => {
                self.rest = rest;
                Ok(TcpOption { kind: KIND_NOP, body: &[] })
            }
            [kind, length, ..] => {
                let length = usize::from(length);
                let body = self.rest.get(2..length).ok_or(MalformedOption)?;
                self.rest = self.rest.get(length..).unwrap_or_default();
                Ok(TcpOption { kind, body })
            }
            [] | [_] => Err(MalformedOption),
        }
    }
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = Result<TcpOption<'a>, MalformedOption>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.split_first();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

impl std::iter::FusedIterator for TcpOptions<'_> {}

/// An option whose length is missing, below 2, or beyond the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MalformedOption;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18: MSS, SACK permitted, timestamps, NOP, window scale, cookie, two NOPs.
    const WITH_COOKIE: &[u8] = &[
        0x02, 0x04, 0xff, 0xd7, 0x04, 0x02, 0x08, 0x0a, 0xf3, 0x52, 0xb4, 0x3d, 0, 0, 0, 0, 0x01,
        0x03, 0x03, 0x0a, 0x22, 0x0a, 0x49, 0xe6, 0xbf, 0xa1, 0x7d, 0x02, 0x3b, 0x07, 0x01, 0x01,
    ];

    fn kinds(bytes: &[u8]) -> Vec<u8> {
        TcpOptions::new(bytes).map_while(Result::ok).map(|option| option.kind()).collect()
    }

    #[test]
    fn a_syn_of_linux_is_walked_in_order() {
        assert_eq!(kinds(WITH_COOKIE), [2, 4, 8, 1, 3, 34, 1, 1], "each NOP is an option");
    }

    #[test]
    fn a_cookie_is_found_in_kind_34_and_in_kind_254() {
        let found = TcpOptions::new(WITH_COOKIE).fast_open().expect("a cookie is there");
        assert_eq!(found.kind, FastOpenKind::Standard);
        assert_eq!(found.cookie.as_bytes(), [0x49, 0xe6, 0xbf, 0xa1, 0x7d, 0x02, 0x3b, 0x07]);
        assert!(!found.is_request(), "it carries a cookie");

        let experimental = [254, 8, 0xf9, 0x89, 1, 2, 3, 4];
        let found = TcpOptions::new(&experimental).fast_open().expect("the magic number is right");
        assert_eq!(found.kind, FastOpenKind::Experimental);
        assert_eq!(found.cookie.as_bytes(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_request_is_an_option_without_a_cookie() {
        for bytes in [&[34, 2][..], &[254, 4, 0xf9, 0x89]] {
            let found = TcpOptions::new(bytes).fast_open().expect("a request");
            assert!(found.is_request(), "{bytes:?} asks for a cookie");
        }
    }

    #[test]
    fn options_that_the_kernel_ignores_are_not_fast_open() {
        let other_experiment = [254, 4, 0x12, 0x34];
        let no_magic = [254, 2];
        let odd = [34, 7, 1, 2, 3, 4, 5];
        let short = [34, 4, 1, 2];
        let mut long = [0; 20];
        long[..2].copy_from_slice(&[34, 20]);
        for bytes in [&other_experiment[..], &no_magic, &odd, &short, &long] {
            assert_eq!(TcpOptions::new(bytes).fast_open(), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_bad_length_is_one_error_and_the_end() {
        for bytes in
            [&[2, 4, 5, 0xb4, 34][..], &[2, 4, 5, 0xb4, 34, 0], &[2, 4, 5, 0xb4, 34, 10, 1]]
        {
            let mut options = TcpOptions::new(bytes);
            assert!(matches!(options.next(), Some(Ok(option)) if option.kind() == 2));
            assert_eq!(options.next(), Some(Err(MalformedOption)), "{bytes:?}");
            assert!(options.next().is_none(), "an error ends the walk");
        }
    }

    #[test]
    fn end_of_list_is_yielded_and_hides_what_follows() {
        assert_eq!(kinds(&[1, 0, 34, 2]), [1, 0]);
    }

    #[test]
    fn an_overwritten_option_shows_as_a_run_of_nops() {
        let mut overwritten = WITH_COOKIE.to_vec();
        overwritten[20..30].fill(KIND_NOP);
        assert_eq!(TcpOptions::new(&overwritten).trailing_nops(), 12);
        assert_eq!(TcpOptions::new(WITH_COOKIE).trailing_nops(), 2);
        assert_eq!(TcpOptions::new(&[34, 6, 1, 1, 1, 1]).trailing_nops(), 0, "the cookie's bytes");
        assert_eq!(TcpOptions::new(&[1, 1, 0, 0]).trailing_nops(), 2, "before the end of the list");
        assert_eq!(TcpOptions::new(&[1, 1, 34]).trailing_nops(), 0, "malformed at the end");
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let items: Vec<_> = TcpOptions::new(&bytes).collect();
            prop_assert!(items.len() <= bytes.len());
            let errors = items.iter().filter(|item| item.is_err()).count();
            prop_assert!(errors <= 1, "at most one error");
            prop_assert_eq!(errors == 1, items.last().is_some_and(Result::is_err), "it comes last");
            let size: usize = items.iter().flatten().map(|o| o.body().len() + 1).sum();
            prop_assert!(size <= bytes.len(), "no byte is yielded twice");
            let _ = TcpOptions::new(&bytes).fast_open();
            prop_assert!(TcpOptions::new(&bytes).trailing_nops() <= bytes.len());
        }

        #[test]
        fn a_damaged_syn_is_walked_within_bounds(
            at in 0..WITH_COOKIE.len(), value: u8, keep in 0..=WITH_COOKIE.len(),
        ) {
            let mut bytes = WITH_COOKIE.to_vec();
            bytes[at] = value;
            bytes.truncate(keep);
            prop_assert!(TcpOptions::new(&bytes).count() <= bytes.len());
            if let Some(option) = TcpOptions::new(&bytes).fast_open() {
                prop_assert!(option.cookie.as_bytes().len() <= TCP_FASTOPEN_COOKIE_MAX);
            }
        }

        #[test]
        fn what_was_written_is_read_back(
            options in proptest::collection::vec((2..=255_u8, proptest::collection::vec(any::<u8>(), 0..12)), 0..5),
        ) {
            let mut bytes = Vec::new();
            for (kind, body) in &options {
                bytes.extend([*kind, u8::try_from(body.len() + 2).unwrap()]);
                bytes.extend(body);
            }
            let read: Vec<_> = TcpOptions::new(&bytes)
                .map(|option| option.map(|option| (option.kind(), option.body().to_vec())))
                .collect::<Result<_, _>>()
                .expect("all lengths are right");
            prop_assert_eq!(read, options);
        }
    }
}
