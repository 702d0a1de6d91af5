//! The beginning of a TCP segment that an ICMP error quotes: as much as the router cared to send.

use super::bytes::{be16_at, be32_at};
use super::checksum::Checksum;
use super::tcp_option::TcpOptions;
use std::net::IpAddr;

const FIXED_HEADER: usize = 20;
const OFFSET_AND_FLAGS: usize = 12;
const CHECKSUM: usize = 16;
const PROTOCOL_TCP: u32 = 6;

/// A quoted segment over borrowed bytes. Everything behind the first 8 bytes may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotedSegment<'a> {
    bytes: &'a [u8],
    source_port: u16,
    destination_port: u16,
}

/// Whether a quoted checksum fits the addresses that the segment was sent between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChecksumFit {
    /// It does.
    Right,
    /// It does not: an address, a port or something else was changed, and then changed back in the quote.
    Wrong,
    /// It was never finished: the sender left that to a device that the packet did not pass.
    Unfinished,
}

impl<'a> QuotedSegment<'a> {
    /// Reads a quote. `None`: it has less than the 8 bytes that every ICMP error must quote.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        be32_at(bytes, 4)?;
        Some(Self { bytes, source_port: be16_at(bytes, 0)?, destination_port: be16_at(bytes, 2)? })
    }

    pub(crate) const fn ports(&self) -> (u16, u16) {
        (self.source_port, self.destination_port)
    }

    /// All that is quoted.
    pub(crate) const fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The length of the TCP header as it says itself; `None` if that is not quoted, or impossible.
    pub(crate) fn header_length(&self) -> Option<usize> {
        let words = be16_at(self.bytes, OFFSET_AND_FLAGS)? >> 12;
        Some(usize::from(words) * 4).filter(|length| *length >= FIXED_HEADER)
    }

    /// Whether it is a SYN without ACK; `None` if that is not quoted.
    pub(crate) fn is_syn(&self) -> Option<bool> {
        be16_at(self.bytes, OFFSET_AND_FLAGS).map(|flags| flags & 0x12 == 0x02)
    }

    /// The options, if all of them are quoted.
    pub(crate) fn options(&self) -> Option<TcpOptions<'a>> {
        self.bytes.get(FIXED_HEADER..self.header_length()?).map(TcpOptions::new)
    }

    /// What is quoted behind the header; `None` if the header is not whole.
    pub(crate) fn payload(&self) -> Option<&'a [u8]> {
        self.bytes.get(self.header_length()?..)
    }

    /// Compares the checksum with the quoted bytes, which must be the whole segment up to `length`. `None`: they are not,
    /// or there is no checksum.
    pub(crate) fn checksum(
        &self,
        length: usize,
        source: IpAddr,
        destination: IpAddr,
    ) -> Option<ChecksumFit> {
        let segment = self.bytes.get(..length).filter(|it| it.len() >= FIXED_HEADER)?;
        let written = be16_at(segment, CHECKSUM).filter(|sum| *sum != 0)?;
        let pseudo = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Checksum::default().add(&source.octets()).add(&destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Checksum::default().add(&source.octets()).add(&destination.octets())
            }
            _ => return None,
        };
        let pseudo = pseudo.add_u32(PROTOCOL_TCP).add_u32(u32::try_from(length).ok()?);
        Some(if pseudo.add(segment).finish() == [0, 0] {
            ChecksumFit::Right
        } else if u16::from_be_bytes(pseudo.finish()) == !written {
            ChecksumFit::Unfinished
        } else {
            ChecksumFit::Wrong
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A SYN from 192.0.2.1:40000 to 192.0.2.2:2222 with MSS, a cookie request and three bytes.
    fn syn() -> Vec<u8> {
        let mut bytes =
            vec![0x9c, 0x40, 0x08, 0xae, 1, 2, 3, 4, 0, 0, 0, 0, 0x70, 0x02, 0xfa, 0xf0];
        bytes.extend([0, 0, 0, 0, 2, 4, 5, 0xb4, 34, 2, 1, 1, b'a', b'b', b'c']);
        let sum = pseudo(bytes.len()).add(&bytes).finish();
        bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum);
        bytes
    }

    const ENDS: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
    ];

    fn pseudo(length: usize) -> Checksum {
        let length = u32::try_from(length).unwrap();
        Checksum::default().add(&[192, 0, 2, 1, 192, 0, 2, 2]).add_u32(6).add_u32(length)
    }

    #[test]
    fn whole_segment_is_read() {
        let bytes = syn();
        let quote = QuotedSegment::parse(&bytes).expect("35 bytes");
        assert_eq!(quote.ports(), (40_000, 2222));
        assert_eq!((quote.header_length(), quote.is_syn()), (Some(28), Some(true)));
        assert!(quote.options().unwrap().fast_open().unwrap().is_request());
        assert_eq!(quote.payload(), Some(&b"abc"[..]));
    }

    #[test]
    fn cut_segment_is_read_as_far_as_it_goes() {
        let bytes = syn();
        assert_eq!(QuotedSegment::parse(&bytes[..7]), None);
        let quote = |keep: usize| QuotedSegment::parse(&bytes[..keep]).expect("enough");
        assert_eq!((quote(8).header_length(), quote(8).payload()), (None, None));
        assert_eq!((quote(27).header_length(), quote(27).payload()), (Some(28), None));
        assert!(quote(27).options().is_none());
        assert_eq!(quote(28).payload(), Some(&[][..]));
    }

    #[test]
    fn checksum_tells_a_changed_address() {
        let fit = |bytes: &[u8], length, destination| {
            QuotedSegment::parse(bytes).unwrap().checksum(length, ENDS[0], destination)
        };
        let mut bytes = syn();
        assert_eq!(fit(&bytes, 31, ENDS[1]), Some(ChecksumFit::Right));
        assert_eq!(fit(&bytes, 31, [198, 51, 100, 7].into()), Some(ChecksumFit::Wrong));
        assert_eq!(fit(&bytes, 32, ENDS[1]), None, "not all of it is quoted");
        let unfinished = u16::from_be_bytes(pseudo(31).finish());
        bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!unfinished).to_be_bytes());
        assert_eq!(fit(&bytes, 31, ENDS[1]), Some(ChecksumFit::Unfinished));
        bytes[CHECKSUM..CHECKSUM + 2].fill(0);
        assert_eq!(fit(&bytes, 31, ENDS[1]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(quote) = QuotedSegment::parse(&bytes) {
                let _ = (quote.ports(), quote.is_syn(), quote.payload());
                prop_assert!(quote.options().is_none_or(|options| options.count() <= 40));
                for length in [0, 20, bytes.len(), bytes.len() + 1] {
                    let _ = quote.checksum(length, ENDS[0], ENDS[1]);
                }
            }
        }
    }
}
