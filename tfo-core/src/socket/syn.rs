//! The SYN of a connection, in the form that evidence contains.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;

use super::saved_syn::{SavedSyn, headers};
use crate::Result;
use crate::wire::{FastOpenOption, TcpOptions};

/// What the kernel saved of a connection's SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SynRecord {
    /// The listener does not save SYNs, or this one could not be read.
    NotSaved,
    /// The kernel saved nothing although it was asked to: it answered with a SYN cookie.
    #[cfg_attr(feature = "serde", serde(rename = "empty"))]
    SynCookie,
    /// The SYN as it arrived.
    Saved(SynSummary),
}

impl SynRecord {
    /// Returns the SYN, if it was saved.
    #[must_use]
    pub const fn saved(&self) -> Option<&SynSummary> {
        match self {
            Self::Saved(syn) => Some(syn),
            Self::NotSaved | Self::SynCookie => None,
        }
    }
}

/// The parts of a SYN that verdicts rest on, as they arrived. Stored inline, without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct SynSummary {
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// The kinds of the TCP options in their order, including each NOP (1).
    #[cfg_attr(feature = "schema", schemars(with = "Vec<u8>", length(max = 40)))]
    pub options: OptionKinds,
    /// The fast open option, if a valid one arrived.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "FastOpenOption"))]
    pub fast_open: Option<FastOpenOption>,
    /// The number of bytes of data in the SYN.
    pub payload_bytes: u16,
    /// The number of NOPs at the end of the options. Linux pads with up to three; more show that an option was
    /// overwritten on the path.
    #[cfg_attr(feature = "serde", serde(default))]
    pub trailing_nops: u8,
    /// The address that the SYN was sent to. `None` if the summary was read from text.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub destination: Option<SocketAddr>,
    /// The `TSval` of its timestamps option.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "u32"))]
    pub tsval: Option<u32>,
}

impl SynSummary {
    /// Parses what `getsockopt(TCP_SAVED_SYN)` returned; see [`SavedSyn::parse`].
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) if the bytes do not contain complete IP and TCP headers.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (ip, tcp) = headers(bytes)?;
        let length = ip.header_length() + tcp.header_length();
        let destination = SocketAddr::new(ip.destination(), tcp.destination_port());
        let payload = ip.total_length().saturating_sub(length);
        Ok(Self::new(ip.ttl(), destination, payload, &tcp.options()))
    }

    fn new(ttl: u8, destination: SocketAddr, payload: usize, options: &TcpOptions<'_>) -> Self {
        Self {
            ttl,
            options: options.clone().map_while(|option| Some(option.ok()?.kind())).collect(),
            fast_open: options.clone().fast_open(),
            payload_bytes: u16::try_from(payload).unwrap_or(u16::MAX),
            trailing_nops: u8::try_from(options.clone().trailing_nops()).unwrap_or(u8::MAX),
            destination: Some(destination),
            tsval: options.clone().tsval(),
        }
    }
}

impl From<&SavedSyn> for SynSummary {
    fn from(syn: &SavedSyn) -> Self {
        Self::new(syn.ttl(), syn.destination(), syn.payload_len(), &syn.options())
    }
}

/// The kinds of the options of a TCP header, in their order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OptionKinds {
    kinds: [u8; Self::MAX],
    length: u8,
}

impl OptionKinds {
    /// The maximum number in a header: 40 options of one byte.
    pub const MAX: usize = 40;
}

/// Takes the first [`MAX`](OptionKinds::MAX) kinds.
impl FromIterator<u8> for OptionKinds {
    fn from_iter<I: IntoIterator<Item = u8>>(kinds: I) -> Self {
        let mut taken = Self { kinds: [0; Self::MAX], length: 0 };
        for (place, kind) in taken.kinds.iter_mut().zip(kinds) {
            *place = kind;
            taken.length += 1;
        }
        taken
    }
}

impl Deref for OptionKinds {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.kinds.get(..self.length.into()).unwrap_or_default()
    }
}

impl fmt::Debug for OptionKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for OptionKinds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&**self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for OptionKinds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kinds = Vec::<u8>::deserialize(deserializer)?;
        if kinds.len() > Self::MAX {
            return Err(serde::de::Error::invalid_length(kinds.len(), &"at most 40 kinds"));
        }
        Ok(kinds.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::socket::FastOpenKind;

    /// Linux 6.18, IPv4 over loopback: a cookie and 19 bytes of data.
    const COOKIE: &[u8] = &[
        0x45, 0x00, 0x00, 0x5b, 0x6b, 0xc5, 0x40, 0x00, 0x40, 0x06, 0xd0, 0xd5, 0x7f, 0x00, 0x00,
        0x01, 0x7f, 0x00, 0x00, 0x01, 0x8c, 0xf2, 0x08, 0xae, 0x40, 0xae, 0x9e, 0xf3, 0x00, 0x00,
        0x00, 0x00, 0xd0, 0x02, 0xff, 0xd7, 0xfe, 0x4f, 0x00, 0x00, 0x02, 0x04, 0xff, 0xd7, 0x04,
        0x02, 0x08, 0x0a, 0xf3, 0x52, 0xb4, 0x3d, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x03, 0x0a,
        0x22, 0x0a, 0x49, 0xe6, 0xbf, 0xa1, 0x7d, 0x02, 0x3b, 0x07, 0x01, 0x01,
    ];

    #[test]
    fn a_saved_syn_is_summarized() {
        let syn = SynSummary::parse(COOKIE).expect("captured from Linux");
        assert_eq!((syn.ttl, syn.payload_bytes, syn.trailing_nops), (64, 19, 2));
        assert_eq!(*syn.options, [2, 4, 8, 1, 3, 34, 1, 1]);
        assert_eq!(syn.destination, Some("127.0.0.1:2222".parse().unwrap()));
        assert_eq!(syn.tsval, Some(0xf352_b43d));
        let option = syn.fast_open.expect("kind 34");
        assert_eq!(option.kind, FastOpenKind::Standard);
        assert_eq!(option.cookie.to_string(), "49e6bfa17d023b07");
        assert_eq!(SynSummary::from(&SavedSyn::parse(COOKIE).unwrap()), syn);
    }

    #[test]
    fn a_connection_keeps_little() {
        assert!(size_of::<SynRecord>() <= 112, "{} bytes", size_of::<SynRecord>());
    }

    #[test]
    #[cfg(feature = "serde")]
    fn its_json_names_what_arrived() {
        let record = SynRecord::Saved(SynSummary::parse(COOKIE).unwrap());
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"saved":{"ttl":64,"options":[2,4,8,1,3,34,1,1],"fast_open":{"kind":"standard","cookie":"49e6bfa17d023b07"},"payload_bytes":19,"trailing_nops":2,"tsval":4082283581}}"#
        );
        assert_eq!(serde_json::to_string(&SynRecord::SynCookie).unwrap(), r#""empty""#);
        let too_many = text.replace("[2,", &format!("[{}", "1,".repeat(34)));
        serde_json::from_str::<SynRecord>(&too_many).expect_err("41 kinds");
    }

    proptest! {
        #[test]
        fn any_bytes_are_summarized_or_refused(
            at in 0..COOKIE.len(), value: u8, keep in 0..=COOKIE.len(),
        ) {
            let mut bytes = COOKIE.to_vec();
            bytes[at] = value;
            bytes.truncate(keep);
            let summary = SynSummary::parse(&bytes).ok();
            let of_saved = SavedSyn::parse(&bytes).ok().map(|syn| SynSummary::from(&syn));
            prop_assert_eq!(summary, of_saved);
        }
    }
}
