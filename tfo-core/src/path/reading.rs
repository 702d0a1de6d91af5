//! A quote held against the SYN that was sent.
//!
//! 1. A quote shows only what it contains: what a router cut off is unknown, never missing.
//! 2. That data was removed is shown by a quote that ends before the data although the same router has quoted longer
//!    ones, or fills up with zeros.
//! 3. A quote with other ports is not about the SYN, and shows nothing.

use std::net::SocketAddr;

use super::SynKind;
use crate::cookie::FastOpenCookie;
use crate::wire::{ChecksumFit, FastOpenKind, QuotedSegment, TcpOptions};

const KIND_END: u8 = 0;
const KIND_NOP: u8 = 1;
const KIND_MSS: u8 = 2;
const KIND_TIMESTAMPS: u8 = 8;
/// More padding than Linux writes.
const NOPS: usize = 4;

/// A SYN as it left this host, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SentSyn {
    /// The cookie that it carried, if its kind has one.
    pub cookie: Option<FastOpenCookie>,
    /// The number of its fast open option, 34 or 254; unknown if `None`: the kernel chooses by what became of earlier requests.
    pub option: Option<u8>,
    /// Whether it had the options for selective acknowledgments, timestamps and window scale; unknown if `None`.
    pub others: Option<[bool; 3]>,
}

/// The options of [`SentSyn::others`].
const OTHERS: [u8; 3] = [4, KIND_TIMESTAMPS, 3];

/// A difference between a quote and the SYN that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Change {
    /// NOPs are where the fast open option was.
    OptionOverwritten,
    /// The fast open option is gone without a trace.
    OptionRemoved,
    /// The experimental option 254 is there instead of 34.
    OptionRenumbered,
    /// The cookie is another one.
    CookieChanged,
    /// The data is gone, or the end of it is.
    DataRemoved,
    /// The data is other data.
    DataChanged,
    /// The maximum segment size, before and now.
    Mss(u16, u16),
    /// An option of this number is gone.
    OptionLost(u8),
    /// An option of this number was added.
    OptionAdded(u8),
    /// An address or a port was changed, and changed back in the quote, all but the checksum.
    Address,
}

/// What a change is about. A quote shows a matter changed, unchanged, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Matter {
    Option,
    Data,
    Mss,
    Others,
    Address,
}

impl Matter {
    pub(super) const ALL: [Self; 5] =
        [Self::Option, Self::Data, Self::Mss, Self::Others, Self::Address];
}

impl Change {
    pub(super) const fn matter(self) -> Matter {
        match self {
            Self::OptionOverwritten
            | Self::OptionRemoved
            | Self::OptionRenumbered
            | Self::CookieChanged => Matter::Option,
            Self::DataRemoved | Self::DataChanged => Matter::Data,
            Self::Mss(..) => Matter::Mss,
            Self::OptionLost(_) | Self::OptionAdded(_) => Matter::Others,
            Self::Address => Matter::Address,
        }
    }
}

/// What a quote shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) changes: Vec<Change>,
    /// What it shows to be as it was sent.
    pub(super) unchanged: Vec<Matter>,
}

impl Reading {
    pub(super) fn change_of(&self, matter: Matter) -> Option<Change> {
        self.changes.iter().copied().find(|change| change.matter() == matter)
    }
}

/// What a quote is read against.
pub(super) struct Context<'a> {
    pub(super) kind: SynKind,
    pub(super) sent: &'a SentSyn,
    /// The maximum segment size that it announced, where that is known.
    pub(super) mss: Option<u16>,
    /// The bytes of data that were sent: [`data`] of this length.
    pub(super) data: usize,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The longest quote that the same router is known to send.
    pub(super) longest: usize,
}

/// The data of a SYN: no byte of it is zero.
pub(super) fn data(length: usize) -> Vec<u8> {
    b"tfo-path ".iter().copied().cycle().take(length).collect()
}

/// Reads a quote. `None`: it is not about this SYN, or shows nothing but that the SYN arrived.
pub(super) fn read(quote: &[u8], context: &Context<'_>) -> Option<Reading> {
    read_data_as(quote, context, &data(context.data))
}

fn read_data_as(quote: &[u8], context: &Context<'_>, sent: &[u8]) -> Option<Reading> {
    let quoted = QuotedSegment::parse(quote)?;
    if quoted.ports() != (context.local.port(), context.remote.port()) {
        return None;
    }
    let mut reading = Reading::default();
    if quoted.is_syn() != Some(true) {
        return Some(reading);
    }
    let mut note = |matter: Matter, change: Option<Change>| match change {
        Some(change) => reading.changes.push(change),
        None => reading.unchanged.push(matter),
    };
    if let Some(options) = quoted.options() {
        if context.kind.has_option() {
            note(Matter::Option, option_change(&options, context));
        }
        if let (Some(sent), Some(now)) = (context.mss, mss(&options)) {
            note(Matter::Mss, (sent != now).then_some(Change::Mss(sent, now)));
        }
        if let Some(others) = context.sent.others {
            note(Matter::Others, others_change(&options, others));
        }
    }
    let payload = quoted.payload().filter(|_| context.kind.has_data());
    let mut whole = quoted.header_length();
    if let Some(payload) = payload {
        let (padded, kept) = without_padding(payload);
        let is_cut = !padded && quoted.length() >= context.longest;
        if !sent.starts_with(kept) {
            note(Matter::Data, Some(Change::DataChanged));
            whole = None;
        } else if kept.len() == sent.len() || (is_cut && !kept.is_empty()) {
            note(Matter::Data, None);
            whole = whole.filter(|_| kept.len() == sent.len()).map(|header| header + kept.len());
        } else if !is_cut {
            note(Matter::Data, Some(Change::DataRemoved));
            whole = whole.map(|header| header + kept.len());
        } else {
            whole = None;
        }
    }
    if let Some(length) = whole {
        match quoted.checksum(length, context.local.ip(), context.remote.ip()) {
            Some(ChecksumFit::Right) => note(Matter::Address, None),
            Some(ChecksumFit::Wrong) => note(Matter::Address, Some(Change::Address)),
            Some(ChecksumFit::Unfinished) | None => {}
        }
    }
    Some(reading)
}

/// Whether a quote shows the first SYN of a kind, with its option or data, and not the kernel's retransmission, which has
/// neither.
pub(super) fn is_first_syn(quote: &[u8], kind: SynKind) -> bool {
    let Some(quoted) = QuotedSegment::parse(quote) else { return false };
    let has_option = quoted.options().is_some_and(|options| options.fast_open().is_some());
    let has_data = quoted.payload().is_some_and(|payload| !without_padding(payload).1.is_empty());
    (kind.has_option() && has_option) || (kind.has_data() && has_data)
}

/// The bytes of a quote in hexadecimal digits, for a report: those of a cookie are `xx`.
#[must_use]
pub fn hex_without_cookie(quote: &[u8]) -> String {
    let end = QuotedSegment::parse(quote).and_then(|quoted| quoted.header_length()).unwrap_or(20);
    let mut secret = vec![false; quote.len()];
    let mut at = 20;
    while let Some(&kind) = quote.get(at).filter(|_| at < end) {
        if kind <= KIND_NOP {
            at += 1;
            continue;
        }
        let length = quote.get(at + 1).map_or(2, |length| usize::from(*length)).max(2);
        if [34, 254].contains(&kind) {
            let body = at + 2..(at + length).min(quote.len());
            secret.get_mut(body).unwrap_or_default().fill(true);
        }
        at += length;
    }
    let bytes = quote.iter().zip(secret);
    let hex: Vec<String> = bytes
        .map(|(byte, secret)| if secret { "xx".to_owned() } else { format!("{byte:02x}") })
        .collect();
    hex.join(" ")
}

/// Whether a quote was filled up with zeros (RFC 4884), and what is in front of them.
fn without_padding(payload: &[u8]) -> (bool, &[u8]) {
    let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (end < payload.len(), payload.get(..end).unwrap_or_default())
}

fn option_change(options: &TcpOptions<'_>, context: &Context<'_>) -> Option<Change> {
    let Some(found) = options.clone().fast_open() else {
        let nops = options.clone().trailing_nops();
        return Some(if nops >= NOPS { Change::OptionOverwritten } else { Change::OptionRemoved });
    };
    if context.kind.has_cookie() {
        if context.sent.cookie.is_some_and(|cookie| cookie != found.cookie) {
            return Some(Change::CookieChanged);
        }
    } else if !found.is_request() {
        return Some(Change::CookieChanged);
    }
    let renumbered = found.kind == FastOpenKind::Experimental
        && context.sent.option != Some(found.kind.number());
    renumbered.then_some(Change::OptionRenumbered)
}

fn mss(options: &TcpOptions<'_>) -> Option<u16> {
    let mut valid = options.clone().map_while(Result::ok);
    let option = valid.find(|option| option.kind() == KIND_MSS)?;
    option.body().first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The first of the other options that is missing or new.
fn others_change(options: &TcpOptions<'_>, sent: [bool; 3]) -> Option<Change> {
    let found: Vec<u8> =
        options.clone().map_while(Result::ok).map(|option| option.kind()).collect();
    for (kind, sent) in OTHERS.into_iter().zip(sent) {
        match (sent, found.contains(&kind)) {
            (true, false) => return Some(Change::OptionLost(kind)),
            (false, true) => return Some(Change::OptionAdded(kind)),
            _ => {}
        }
    }
    let known =
        |kind: &u8| OTHERS.contains(kind) || [KIND_END, KIND_NOP, KIND_MSS, 34, 254].contains(kind);
    found.into_iter().find(|kind| !known(kind)).map(Change::OptionAdded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCAL: &str = "192.0.2.1:40000";
    const REMOTE: &str = "192.0.2.2:2222";
    /// MSS 1460, SACK permitted, timestamps, NOP, window scale.
    const BEFORE: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 10];
    const COOKIE: [u8; 12] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];

    fn syn(options: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x9c, 0x40, 0x08, 0xae, 1, 2, 3, 4, 0, 0, 0, 0];
        bytes.extend([
            u8::try_from((20 + options.len()) / 4).unwrap() << 4,
            2,
            0xfa,
            0xf0,
            0,
            0,
            0,
            0,
        ]);
        bytes.extend(options);
        bytes.extend(data);
        bytes
    }

    fn sent() -> SentSyn {
        SentSyn {
            cookie: Some(FastOpenCookie::new(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap()),
            option: Some(34),
            others: Some([true; 3]),
        }
    }

    fn read_as(kind: SynKind, quote: &[u8], longest: usize) -> Reading {
        let sent = sent();
        let (local, remote) = (LOCAL.parse().unwrap(), REMOTE.parse().unwrap());
        let data = if kind.has_data() { 30 } else { 0 };
        read(quote, &Context { kind, sent: &sent, mss: Some(1460), data, local, remote, longest })
            .expect("our ports")
    }

    #[test]
    fn first_syn_is_told_from_its_retransmission() {
        let with_cookie = [&BEFORE[..], &COOKIE].concat();
        let first = syn(&with_cookie, &data(30));
        assert!(is_first_syn(&first, SynKind::CookieAndData));
        assert!(is_first_syn(&syn(&BEFORE, &data(30)), SynKind::Data));
        for kind in SynKind::ALL {
            assert!(!is_first_syn(&syn(&BEFORE, &[]), kind), "{kind}");
            assert!(!is_first_syn(&[syn(&BEFORE, &[]), vec![0; 20]].concat(), kind), "{kind}");
            assert!(!is_first_syn(&first[..8], kind), "a quote that shows neither");
        }
    }

    #[test]
    fn unchanged_syn_shows_no_change() {
        let with_cookie = [&BEFORE[..], &COOKIE].concat();
        let quote = syn(&with_cookie, &data(30));
        let reading = read_as(SynKind::CookieAndData, &quote, quote.len());
        assert_eq!(reading.changes, []);
        assert!(
            reading.unchanged.contains(&Matter::Option)
                && reading.unchanged.contains(&Matter::Data)
        );
        let reading = read_as(SynKind::Plain, &syn(&BEFORE, &[]), 40);
        assert_eq!(reading.changes, []);
    }

    #[test]
    fn each_change_has_its_word() {
        let nops = [&BEFORE[..], &[1; 12]].concat();
        let experimental = [&BEFORE[..], &[254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
        let other_cookie = [&BEFORE[..], &[34, 10, 9, 2, 3, 4, 5, 6, 7, 8, 1, 1]].concat();
        for (options, expected) in [
            (nops, Change::OptionOverwritten),
            (BEFORE.to_vec(), Change::OptionRemoved),
            (experimental, Change::OptionRenumbered),
            (other_cookie, Change::CookieChanged),
        ] {
            assert_eq!(read_as(SynKind::Cookie, &syn(&options, &[]), 52).changes, [expected]);
        }
        let mut options = BEFORE;
        options[2..4].copy_from_slice(&1200_u16.to_be_bytes());
        let reading = read_as(SynKind::Plain, &syn(&options, &[]), 40);
        assert_eq!(reading.changes, [Change::Mss(1460, 1200)]);
        options[2..4].copy_from_slice(&1460_u16.to_be_bytes());
        options[4..6].fill(1);
        let reading = read_as(SynKind::Plain, &syn(&options, &[]), 40);
        assert_eq!(reading.changes, [Change::OptionLost(4)]);
        let added = [&BEFORE[..], &[28, 4, 0, 0]].concat();
        let reading = read_as(SynKind::Plain, &syn(&added, &[]), 44);
        assert_eq!(reading.changes, [Change::OptionAdded(28)]);
    }

    #[test]
    fn removed_data_is_told_from_a_short_quote() {
        let quote = syn(&BEFORE, &[]);
        let cut = read_as(SynKind::Data, &quote, quote.len());
        assert!(cut.changes.is_empty() && !cut.unchanged.contains(&Matter::Data), "it may be cut");
        let removed = read_as(SynKind::Data, &quote, 52);
        assert_eq!(removed.changes, [Change::DataRemoved], "this router quotes more");
        let padded = syn(&BEFORE, &[0; 68]);
        assert_eq!(read_as(SynKind::Data, &padded, 108).changes, [Change::DataRemoved]);
        let part = syn(&BEFORE, &data(12));
        assert!(read_as(SynKind::Data, &part, 52).unchanged.contains(&Matter::Data));
        assert_eq!(read_as(SynKind::Data, &part, 60).changes, [Change::DataRemoved]);
        let other = syn(&BEFORE, b"other data that is as long 30");
        assert_eq!(read_as(SynKind::Data, &other, 108).changes, [Change::DataChanged]);
    }

    #[test]
    fn report_shows_no_cookie() {
        let quote = syn(&[&BEFORE[..], &COOKIE].concat(), b"data");
        let hex = hex_without_cookie(&quote);
        assert!(hex.contains("22 0a xx xx xx xx xx xx xx xx 01 01 64 61 74 61"), "{hex}");
        for keep in 0..quote.len() {
            let cut = hex_without_cookie(&quote[..keep]);
            assert!(hex.starts_with(&cut), "{cut}");
        }
    }

    #[test]
    fn quote_of_other_ports_shows_nothing() {
        let mut quote = syn(&BEFORE, &[]);
        quote[0] ^= 1;
        let (local, remote) = (LOCAL.parse().unwrap(), REMOTE.parse().unwrap());
        let sent = sent();
        let context = Context {
            kind: SynKind::Cookie,
            sent: &sent,
            mss: Some(1460),
            data: 0,
            local,
            remote,
            longest: 99,
        };
        assert_eq!(read(&quote, &context), None);
        assert_eq!(read(&quote[..6], &context), None);
    }

    proptest! {
        #[test]
        fn cut_quotes_of_an_unchanged_syn_show_no_change(keep in 8..=82_usize, more in 0..200_usize) {
            let whole = syn(&[&BEFORE[..], &COOKIE].concat(), &data(30));
            // A router that cuts always cuts there.
            let longest = if keep < whole.len() { keep } else { keep + more };
            let quote = &whole[..keep];
            prop_assert_eq!(read_as(SynKind::CookieAndData, quote, longest).changes, vec![]);
        }

        #[test]
        fn any_bytes_are_read_within_bounds(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120), longest in 0..200_usize,
        ) {
            for (byte, port) in bytes.iter_mut().zip([0x9c, 0x40, 0x08, 0xae]) {
                *byte = port;
            }
            let sent = sent();
            let (local, remote) = (LOCAL.parse().unwrap(), REMOTE.parse().unwrap());
            for kind in SynKind::ALL {
                let context = Context { kind, sent: &sent, mss: Some(1460), data: 30, local, remote, longest };
                let _ = read(&bytes, &context);
            }
        }
    }
}
