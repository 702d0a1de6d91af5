//! Parses TCP headers in place.

use super::bytes::{be16_at, be32_at};
use super::tcp_option::TcpOptions;
use crate::{Error, Result};

/// Offsets in a TCP header ([RFC 9293, section 3.1](https://www.rfc-editor.org/rfc/rfc9293#section-3.1)).
const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const SEQUENCE: usize = 4;
const ACKNOWLEDGMENT: usize = 8;
const DATA_OFFSET_AND_FLAGS: usize = 12;
const MIN_LENGTH: usize = 20;

/// The protocol number of TCP in an IP header.
pub(crate) const PROTOCOL_TCP: u8 = 6;

/// A TCP header over borrowed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpHeader<'a> {
    bytes: &'a [u8],
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgment: u32,
    header_length: usize,
    flags: TcpFlags,
}

impl<'a> TcpHeader<'a> {
    /// Parses the header at the start of `bytes`, such as an IP header's payload.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `bytes` do not contain the complete header with its options.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::read(bytes).ok_or_else(|| {
            let reason = format!("{} bytes do not hold the header that they announce", bytes.len());
            Error::malformed("TCP header", reason)
        })
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let offset_and_flags = be16_at(bytes, DATA_OFFSET_AND_FLAGS)?;
        let header_length = usize::from(offset_and_flags >> 12) * 4;
        if header_length < MIN_LENGTH || bytes.len() < header_length {
            return None;
        }
        Some(Self {
            bytes,
            source_port: be16_at(bytes, SOURCE_PORT)?,
            destination_port: be16_at(bytes, DESTINATION_PORT)?,
            sequence: be32_at(bytes, SEQUENCE)?,
            acknowledgment: be32_at(bytes, ACKNOWLEDGMENT)?,
            header_length,
            flags: TcpFlags(offset_and_flags & TcpFlags::ALL),
        })
    }

    /// Returns the source port.
    #[must_use]
    pub(crate) const fn source_port(&self) -> u16 {
        self.source_port
    }

    /// Returns the destination port.
    #[must_use]
    pub(crate) const fn destination_port(&self) -> u16 {
        self.destination_port
    }

    /// Returns the sequence number of the first byte, or of the SYN.
    #[must_use]
    pub(crate) const fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Returns the next sequence number that the sender expects; only valid with ACK.
    #[must_use]
    pub(crate) const fn acknowledgment(&self) -> u32 {
        self.acknowledgment
    }

    /// Returns the control bits.
    #[must_use]
    pub(crate) const fn flags(&self) -> TcpFlags {
        self.flags
    }

    /// Returns the length of the header in bytes, options included: 20 to 60.
    #[must_use]
    pub(crate) const fn header_length(&self) -> usize {
        self.header_length
    }

    /// Returns the bytes of the options, at most 40.
    #[must_use]
    pub(crate) fn option_bytes(&self) -> &'a [u8] {
        self.bytes.get(MIN_LENGTH..self.header_length).unwrap_or_default()
    }

    /// Returns the options in their order.
    #[must_use]
    pub(crate) fn options(&self) -> TcpOptions<'a> {
        TcpOptions::new(self.option_bytes())
    }
}

/// The control bits of a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct TcpFlags(u16);

impl TcpFlags {
    /// Nine bits; AE (RFC 9768) is the highest.
    const ALL: u16 = 0x1ff;

    /// Returns whether the sender has no more data.
    #[must_use]
    pub(crate) const fn fin(self) -> bool {
        self.0 & 0x001 != 0
    }

    /// Returns whether the segment opens a connection.
    #[must_use]
    pub(crate) const fn syn(self) -> bool {
        self.0 & 0x002 != 0
    }

    /// Returns whether the segment resets the connection.
    #[must_use]
    pub(crate) const fn rst(self) -> bool {
        self.0 & 0x004 != 0
    }

    /// Returns whether the acknowledgment number is valid.
    #[must_use]
    pub(crate) const fn ack(self) -> bool {
        self.0 & 0x010 != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18: a SYN with a cookie request.
    const SYN: [u8; 44] = [
        0x8c, 0xea, 0x08, 0xae, 0x41, 0x9a, 0x40, 0xb1, 0, 0, 0, 0, 0xb0, 0x02, 0xff, 0xd7, 0xfe,
        0x34, 0, 0, 0x02, 0x04, 0xff, 0xd7, 0x04, 0x02, 0x08, 0x0a, 0xb9, 0xb7, 0x24, 0x4a, 0, 0,
        0, 0, 0x01, 0x03, 0x03, 0x0a, 0x22, 0x02, 0x01, 0x01,
    ];

    #[test]
    fn a_syn_of_linux_is_read() {
        let mut bytes = SYN.to_vec();
        bytes.extend(b"data");
        let header = TcpHeader::parse(&bytes).expect("a whole header");
        assert_eq!((header.source_port(), header.destination_port()), (36_074, 2222));
        assert_eq!((header.sequence(), header.acknowledgment()), (0x419a_40b1, 0));
        assert_eq!(header.header_length(), 44);
        assert_eq!(header.flags(), TcpFlags(0x002));
        assert!(header.flags().syn() && !header.flags().ack());
        assert_eq!(header.option_bytes(), &SYN[20..]);
        assert!(header.options().fast_open().expect("an option").is_request());
    }

    #[test]
    fn incomplete_header_is_an_error() {
        let mut short = SYN;
        short[12] = 0x40;
        for bytes in [&[][..], &SYN[..19], &SYN[..43], &short] {
            TcpHeader::parse(bytes).expect_err("not a whole header");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(header) = TcpHeader::parse(&bytes) {
                prop_assert!((MIN_LENGTH..=60).contains(&header.header_length()));
                prop_assert!(header.header_length() <= bytes.len());
                prop_assert_eq!(header.option_bytes().len() + MIN_LENGTH, header.header_length());
            }
        }

        #[test]
        fn a_damaged_syn_is_read_within_bounds(at in 0..SYN.len(), value: u8, keep in 0..=SYN.len()) {
            let mut bytes = SYN;
            bytes[at] = value;
            if let Ok(header) = TcpHeader::parse(&bytes[..keep]) {
                prop_assert!(header.header_length() <= keep);
                prop_assert!(header.options().count() <= 40);
            }
        }
    }
}
