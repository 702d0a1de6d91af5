//! The first bytes of `struct tcp_info`: what became of fast open at the client's end.

use super::ClientFail;
use super::tcp_info::offset;
use crate::uapi::TCPI_OPT_SYN_DATA;

/// The two signals of `TCP_INFO` that tell a client what became of fast open.
#[doc(alias = "TCP_INFO")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct FastOpenStatus {
    /// `TCPI_OPT_SYN_DATA`: the SYN's data was acknowledged by the SYN-ACK.
    pub syn_data: bool,
    /// Why it failed, if it did.
    pub client_fail: ClientFail,
}

impl FastOpenStatus {
    /// The bytes of `struct tcp_info` that it takes.
    pub const LENGTH: usize = offset::MIN_LENGTH;

    /// Reads the beginning of what `getsockopt(TCP_INFO)` returned.
    #[must_use]
    pub const fn parse(bytes: [u8; Self::LENGTH]) -> Self {
        Self {
            syn_data: bytes[offset::OPTIONS] & TCPI_OPT_SYN_DATA != 0,
            client_fail: ClientFail::from_bits(bytes[offset::CLIENT_FAIL] >> 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::TcpInfo;

    #[test]
    fn it_says_what_the_whole_structure_says() {
        for options in 0..=u8::MAX {
            for fail in 0..=u8::MAX {
                let bytes = [1, 0, 0, 0, 0, options, 0, fail];
                let (short, whole) =
                    (FastOpenStatus::parse(bytes), TcpInfo::parse(&bytes).unwrap());
                assert_eq!(
                    (short.syn_data, short.client_fail),
                    (whole.syn_data, whole.client_fail),
                    "{options:#x} {fail:#x}"
                );
            }
        }
    }
}
