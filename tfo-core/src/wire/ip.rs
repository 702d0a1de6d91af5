//! Parses IPv4 and IPv6 headers in place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array_at, be16_at};
use crate::{Error, Result};

/// Offsets in an IPv4 header ([RFC 791, section 3.1](https://www.rfc-editor.org/rfc/rfc791#section-3.1)).
mod v4 {
    pub(super) const TOS: usize = 1;
    pub(super) const TOTAL_LENGTH: usize = 2;
    pub(super) const FRAGMENT: usize = 6;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const SOURCE: usize = 12;
    pub(super) const DESTINATION: usize = 16;
    pub(super) const MIN_LENGTH: usize = 20;
}

/// Offsets in an IPv6 header ([RFC 8200, section 3](https://www.rfc-editor.org/rfc/rfc8200#section-3)).
mod v6 {
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: usize = 8;
    pub(super) const DESTINATION: usize = 24;
    pub(super) const LENGTH: usize = 40;

    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    /// More than any real packet has; bounds the walk.
    pub(super) const MAX_EXTENSIONS: usize = 8;
}

/// The part of its 16-bit field that is the fragment offset, in units of 8 bytes.
const IPV4_OFFSET_MASK: u16 = 0x1fff;
const IPV6_OFFSET_SHIFT: u32 = 3;

/// An IPv4 or IPv6 header over borrowed bytes; IPv6 extension headers count as part of it.
///
/// Lengths come from the header and may exceed the bytes at hand: `TCP_SAVED_SYN` and captures contain only the
/// beginning of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpHeader<'a> {
    bytes: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    traffic_class: u8,
    header_length: usize,
    total_length: usize,
    fragment_offset: usize,
}

impl<'a> IpHeader<'a> {
    /// Parses the header at the start of `bytes`, which may be longer.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `bytes` do not begin with a complete IPv4 or IPv6 header, or if its lengths
    /// contradict each other.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let header = match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            Some(version) => {
                return Err(malformed(format!("version {version} is neither 4 nor 6")));
            }
            None => None,
        };
        header.ok_or_else(|| {
            malformed(format!("{} bytes do not hold the header that they announce", bytes.len()))
        })
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        let header_length = usize::from(bytes.first()? & 0x0f) * 4;
        if header_length < v4::MIN_LENGTH || bytes.len() < header_length {
            return None;
        }
        Some(Self {
            bytes,
            source: Ipv4Addr::from(array_at::<4>(bytes, v4::SOURCE)?).into(),
            destination: Ipv4Addr::from(array_at::<4>(bytes, v4::DESTINATION)?).into(),
            protocol: *bytes.get(v4::PROTOCOL)?,
            ttl: *bytes.get(v4::TTL)?,
            traffic_class: *bytes.get(v4::TOS)?,
            header_length,
            total_length: match usize::from(be16_at(bytes, v4::TOTAL_LENGTH)?) {
                0 => bytes.len(),
                length if length < header_length => return None,
                length => length,
            },
            fragment_offset: usize::from(be16_at(bytes, v4::FRAGMENT)? & IPV4_OFFSET_MASK) * 8,
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        let payload_length = usize::from(be16_at(bytes, v6::PAYLOAD_LENGTH)?);
        let mut header = Self {
            bytes,
            source: Ipv6Addr::from(array_at::<16>(bytes, v6::SOURCE)?).into(),
            destination: Ipv6Addr::from(array_at::<16>(bytes, v6::DESTINATION)?).into(),
            protocol: *bytes.get(v6::NEXT_HEADER)?,
            ttl: *bytes.get(v6::HOP_LIMIT)?,
            traffic_class: (be16_at(bytes, 0)? >> 4).to_be_bytes()[1],
            header_length: v6::LENGTH,
            total_length: match payload_length {
                0 => bytes.len(),
                length => v6::LENGTH + length,
            },
            fragment_offset: 0,
        };
        header.skip_extensions()?;
        (header.header_length <= header.total_length).then_some(header)
    }

    fn skip_extensions(&mut self) -> Option<()> {
        for _ in 0..v6::MAX_EXTENSIONS {
            let extension = self.bytes.get(self.header_length..)?;
            let length = match self.protocol {
                v6::HOP_BY_HOP | v6::ROUTING | v6::DESTINATION_OPTIONS => {
                    (usize::from(*extension.get(1)?) + 1) * 8
                }
                v6::FRAGMENT => {
                    let units = be16_at(extension, 2)? >> IPV6_OFFSET_SHIFT;
                    self.fragment_offset = usize::from(units) * 8;
                    8
                }
                _ => return Some(()),
            };
            self.protocol = *extension.first()?;
            self.header_length += length;
            if self.header_length > self.bytes.len() {
                return None;
            }
            if self.fragment_offset != 0 {
                return Some(());
            }
        }
        None
    }

    /// Returns the source address.
    #[must_use]
    pub(crate) const fn source(&self) -> IpAddr {
        self.source
    }

    /// Returns the destination address.
    #[must_use]
    pub(crate) const fn destination(&self) -> IpAddr {
        self.destination
    }

    /// Returns the number of the protocol after the header and its extensions: 6 is TCP.
    #[must_use]
    pub(crate) const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Returns the IPv4 TTL or IPv6 hop limit.
    #[doc(alias = "hop_limit")]
    #[must_use]
    pub(crate) const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Returns the two ECN bits: 0 not capable, 1 and 2 capable, 3 congestion experienced.
    ///
    /// # References
    /// - [RFC 3168, section 5](https://www.rfc-editor.org/rfc/rfc3168#section-5)
    #[must_use]
    pub(crate) const fn ecn(&self) -> u8 {
        self.traffic_class & 0x3
    }

    /// Returns the length of the header in bytes, with IPv4 options or IPv6 extension headers.
    #[must_use]
    pub(crate) const fn header_length(&self) -> usize {
        self.header_length
    }

    /// Returns the length of the packet in bytes, including the header, as the header states it. It may exceed the
    /// bytes at hand.
    ///
    /// If the header says 0, as the kernel writes for segments above 64 KiB, returns the length of the bytes at
    /// hand.
    #[must_use]
    pub(crate) const fn total_length(&self) -> usize {
        self.total_length
    }

    /// Returns the offset of a fragment's payload in bytes; 0 for the first fragment and for an unfragmented
    /// packet. Only at 0 does [`payload`](Self::payload) begin with the header of [`protocol`](Self::protocol).
    #[must_use]
    pub(crate) const fn fragment_offset(&self) -> usize {
        self.fragment_offset
    }

    /// Returns what follows the header, as far as the bytes at hand reach. Padding after the packet is cut.
    #[must_use]
    pub(crate) fn payload(&self) -> &'a [u8] {
        let end = self.total_length.min(self.bytes.len());
        self.bytes.get(self.header_length..end).unwrap_or_default()
    }
}

fn malformed(reason: String) -> Error {
    Error::malformed("IP header", reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18 over loopback: the first 24 bytes of a SYN with a cookie and 19 bytes of data.
    const IPV4: [u8; 24] = [
        0x45, 0x00, 0x00, 0x5b, 0x6b, 0xc5, 0x40, 0x00, 0x40, 0x06, 0xd0, 0xd5, 127, 0, 0, 1, 127,
        0, 0, 1, 0x8c, 0xf2, 0x08, 0xae,
    ];

    fn ipv6(next_header: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0x02, 0, 0, 0, 0, next_header, 64];
        bytes[4..6].copy_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(Ipv6Addr::LOCALHOST.octets());
        bytes.extend(Ipv6Addr::UNSPECIFIED.octets());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn ipv4_header_states_more_than_the_bytes_at_hand() {
        let header = IpHeader::parse(&IPV4).expect("a whole header");
        assert_eq!(header.source(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!((header.header_length(), header.total_length()), (20, 91));
        assert_eq!((header.ttl(), header.protocol(), header.ecn()), (64, 6, 0));
        assert_eq!(header.fragment_offset(), 0, "don't-fragment is no offset");
        assert_eq!(header.payload(), &IPV4[20..], "bounded by what is there");
    }

    #[test]
    fn ipv6_extension_headers_are_skipped() {
        let mut rest = vec![60, 0, 0, 0, 0, 0, 0, 0]; // hop-by-hop, then
        rest.extend([43, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // destination options, then
        rest.extend([44, 0, 0, 0, 0, 0, 0, 0]); // routing, then
        rest.extend([6, 0, 0, 1, 0, 0, 0, 9]); // the first of some fragments, then
        rest.extend([1, 2, 3]);
        let bytes = ipv6(v6::HOP_BY_HOP, &rest);
        let header = IpHeader::parse(&bytes).expect("four known extensions");
        assert_eq!(header.protocol(), 6);
        assert_eq!(header.header_length(), 40 + 8 + 16 + 8 + 8);
        assert_eq!(header.payload(), [1, 2, 3]);
        assert_eq!(header.source(), IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(header.traffic_class, 0, "0x2 belongs to the flow label");
    }

    #[test]
    fn later_fragment_is_distinguished_from_the_first() {
        let bytes = ipv6(v6::FRAGMENT, &[60, 0, 0, 8, 0, 0, 0, 9, 1, 2]);
        let header = IpHeader::parse(&bytes).expect("what follows is data, not a header");
        assert_eq!((header.fragment_offset(), header.protocol()), (8, 60));
        assert_eq!(header.payload(), [1, 2]);
    }

    #[test]
    fn padding_after_the_packet_is_cut() {
        let mut bytes = IPV4.to_vec();
        bytes[3] = 22;
        assert_eq!(IpHeader::parse(&bytes).expect("valid").payload(), &IPV4[20..22]);
    }

    #[test]
    fn malformed_ip_header_is_an_error() {
        let endless = ipv6(v6::HOP_BY_HOP, &[0; 80]);
        let mut short_total = IPV4;
        short_total[3] = 19;
        let mut short_header = IPV4;
        short_header[0] = 0x44;
        for bytes in
            [&[][..], &[0x45], &[0x75; 40], &IPV4[..19], &short_total, &short_header, &endless]
        {
            let error = IpHeader::parse(bytes).expect_err("not a header");
            assert!(matches!(error, Error::Malformed { .. }), "{bytes:?}: {error}");
        }
    }

    fn check(bytes: &[u8]) {
        if let Ok(header) = IpHeader::parse(bytes) {
            assert!(header.header_length() <= bytes.len(), "the header is all there");
            assert!(header.header_length() <= header.total_length());
            assert!(header.payload().len() <= bytes.len() - header.header_length());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(
            version in prop_oneof![Just(0x45_u8), Just(0x4f), Just(0x60), any::<u8>()],
            next_header in prop_oneof![Just(0_u8), Just(44), Just(6), any::<u8>()],
            mut bytes in proptest::collection::vec(any::<u8>(), 0..160),
        ) {
            if let Some(first) = bytes.first_mut() { *first = version; }
            if let Some(next) = bytes.get_mut(v6::NEXT_HEADER) { *next = next_header; }
            check(&bytes);
        }

        #[test]
        fn a_cut_or_damaged_header_is_read_within_bounds(at in 0..24_usize, value: u8, keep in 0..=24_usize) {
            let mut bytes = IPV4.to_vec();
            bytes[at] = value;
            check(&bytes[..keep]);
            let mut bytes = ipv6(v6::HOP_BY_HOP, &IPV4);
            bytes[at] = value;
            check(&bytes[..40 + keep]);
        }
    }
}
