//! The Internet checksum (RFC 1071).

/// A checksum that is being computed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checksum(u64);

impl Checksum {
    /// Adds bytes. A piece of odd length is padded with a zero, so that only the last one may be odd.
    pub(crate) fn add(mut self, bytes: &[u8]) -> Self {
        let (pairs, rest) = bytes.as_chunks::<2>();
        for pair in pairs {
            self.0 += u64::from(u16::from_be_bytes(*pair));
        }
        if let [last] = rest {
            self.0 += u64::from(u16::from_be_bytes([*last, 0]));
        }
        self
    }

    /// Adds a number, as 16-bit words.
    pub(crate) fn add_u32(self, number: u32) -> Self {
        self.add(&number.to_be_bytes())
    }

    /// Returns the checksum, as in a header.
    pub(crate) fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let folded = u16::try_from(sum).unwrap_or(u16::MAX);
        (!folded).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Checksum::default().add(&bytes).finish(), (!0xddf2_u16).to_be_bytes());
    }

    #[test]
    fn a_header_with_its_checksum_sums_to_zero() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(Checksum::default().add(&header).finish(), [0, 0]);
    }
}
