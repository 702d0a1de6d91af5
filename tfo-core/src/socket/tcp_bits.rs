//! The part of `struct tcp_info` that verdicts rest on.

use super::tcp_info::{self, ClientFail, TcpInfo, TcpState};
use crate::Result;

/// The part of `TCP_INFO` that verdicts rest on.
///
/// # References
/// - [`struct tcp_info`](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/tcp.h)
#[doc(alias = "TCP_INFO")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct TcpBits {
    /// The connection's state.
    pub state: TcpState,
    /// `TCPI_OPT_SYN_DATA`: the SYN's data was acknowledged by the SYN-ACK.
    pub syn_data: bool,
    /// Server, `TCPI_OPT_TFO_CHILD`: created by a valid fast open SYN. Old kernels never set it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tfo_child: bool,
    /// `tcpi_fastopen_client_fail`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub client_fail: ClientFail,
    /// The number of retransmitted segments. SYN data that is sent after the handshake counts as well.
    #[cfg_attr(feature = "serde", serde(default))]
    pub total_retrans: u32,
    /// The smoothed round trip time in µs; misleading if `total_retrans` is above 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub rtt_us: u32,
}

impl TcpBits {
    /// The number of bytes of `struct tcp_info` that contain all of them.
    pub const LENGTH: usize = tcp_info::offset::TOTAL_RETRANS + 4;

    /// Parses the beginning of what `getsockopt(TCP_INFO)` returned. A number beyond the last byte is 0.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) below 8 bytes, which no kernel returns for a TCP socket.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        TcpInfo::parse(bytes).map(|info| Self::from(&info))
    }
}

impl From<&TcpInfo> for TcpBits {
    fn from(info: &TcpInfo) -> Self {
        Self {
            state: info.state,
            syn_data: info.syn_data,
            tfo_child: info.tfo_child,
            client_fail: info.client_fail,
            total_retrans: info.total_retrans.unwrap_or(0),
            rtt_us: info.rtt.map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_hold_all_but_the_numbers() {
        let bits = TcpBits::parse(&[1, 0, 0, 0, 0, 0xa0, 0, 2 << 1]).expect("long enough");
        assert!(bits.syn_data && bits.tfo_child);
        assert_eq!(
            (bits.state, bits.client_fail),
            (TcpState::Established, ClientFail::DataNotAcked)
        );
        assert_eq!((bits.total_retrans, bits.rtt_us), (0, 0));
        TcpBits::parse(&[0; 7]).expect_err("too short");
    }

    #[test]
    fn a_connection_keeps_little() {
        assert_eq!(size_of::<TcpBits>(), 12);
    }
}
