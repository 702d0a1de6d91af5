//! `struct tcp_info`, what the kernel says of a connection.

use std::time::Duration;

/// What `TCP_INFO` says of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TcpInfo {
    /// The connection's state.
    pub state: TcpState,
    /// `TCPI_OPT_SYN_DATA`: the SYN's data was acknowledged by the SYN-ACK. Both ends.
    pub syn_data: bool,
    /// 0x80: born of a valid fast open SYN, even of an empty one. Server's end, new kernels.
    pub tfo_child: bool,
    /// Why fast open failed at the client's end.
    pub client_fail: ClientFail,
    /// Smoothed round trip time. `None` on a kernel that returned less.
    pub rtt: Option<Duration>,
    /// Segments that were sent again, over the connection's life.
    pub total_retrans: Option<u32>,
}

/// A TCP state, by the number that `TCP_INFO` and `/proc/net/tcp` use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum TcpState {
    /// 1
    Established,
    /// 2
    SynSent,
    /// 3
    SynRecv,
    /// 4
    FinWait1,
    /// 5
    FinWait2,
    /// 6
    TimeWait,
    /// 7
    Close,
    /// 8
    CloseWait,
    /// 9
    LastAck,
    /// 10
    Listen,
    /// 11
    Closing,
    /// A number that this version does not know.
    Unknown,
}

/// `tcpi_fastopen_client_fail`: why fast open failed at the client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum ClientFail {
    /// 0, `TFO_STATUS_UNSPEC`: nothing failed, or nothing was tried.
    #[default]
    Unspecified,
    /// 1, `TFO_COOKIE_UNAVAILABLE`: no cookie was cached when the connection was made. Set on each first
    /// connection, whether the server then grants one or not.
    CookieUnavailable,
    /// 2, `TFO_DATA_NOT_ACKED`: the SYN-ACK did not acknowledge the SYN's data.
    DataNotAcked,
    /// 3, `TFO_SYN_RETRANSMITTED`: the SYN with data got no answer, one without was sent.
    SynRetransmitted,
}
