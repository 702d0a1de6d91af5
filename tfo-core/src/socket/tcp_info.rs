//! `struct tcp_info`: what the kernel reports about a connection.

use std::fmt;
use std::time::Duration;

use crate::uapi::{
    TCPI_OPT_ECN, TCPI_OPT_SACK, TCPI_OPT_SYN_DATA, TCPI_OPT_TFO_CHILD, TCPI_OPT_TIMESTAMPS,
    TCPI_OPT_USEC_TS, TCPI_OPT_WSCALE,
};
use crate::wire::bytes::array_at;
use crate::{Error, Result};

/// Offsets in `struct tcp_info`; integers are in host byte order.
///
/// The `libc` crate's structure cannot be used: in glibc's definition bytes 6 and 7 are bit fields and padding, and
/// everything after `tcpi_total_retrans` is missing.
pub(super) mod offset {
    pub(super) const STATE: usize = 0;
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const OPTIONS: usize = 5;
    /// Bit 0 is `tcpi_delivery_rate_app_limited`, bits 1 and 2 are `tcpi_fastopen_client_fail`.
    pub(super) const CLIENT_FAIL: usize = 7;
    pub(super) const RTO: usize = 8;
    pub(super) const SND_MSS: usize = 16;
    pub(super) const RCV_MSS: usize = 20;
    pub(super) const UNACKED: usize = 24;
    pub(super) const SACKED: usize = 28;
    pub(super) const LOST: usize = 32;
    pub(super) const RETRANS: usize = 36;
    pub(super) const PMTU: usize = 60;
    pub(super) const RTT: usize = 68;
    pub(super) const RTTVAR: usize = 72;
    pub(super) const SND_CWND: usize = 80;
    pub(super) const ADVMSS: usize = 84;
    pub(in crate::socket) const TOTAL_RETRANS: usize = 100;
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const BYTES_RECEIVED: usize = 128;
    pub(super) const SEGS_OUT: usize = 136;
    pub(super) const SEGS_IN: usize = 140;
    pub(super) const NOTSENT_BYTES: usize = 144;
    pub(super) const MIN_RTT: usize = 148;
    pub(super) const DATA_SEGS_IN: usize = 152;
    pub(super) const DATA_SEGS_OUT: usize = 156;
    pub(super) const BYTES_SENT: usize = 200;
    pub(super) const BYTES_RETRANS: usize = 208;
    pub(super) const TOTAL_RTO: usize = 240;
    pub(super) const TOTAL_RTO_TIME: usize = 244;
    /// The one-byte fields, which every kernel returns.
    pub(super) const MIN_LENGTH: usize = 8;
}

/// The contents of `TCP_INFO`: what the kernel reports about a connection.
///
/// A field that the kernel did not return, because it is older than the field, is `None`.
///
/// # References
/// - [`struct tcp_info`](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/tcp.h)
#[doc(alias = "tcp_info")]
#[doc(alias = "TCP_INFO")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of tcpi_options")]
pub struct TcpInfo {
    /// The connection's state.
    pub state: TcpState,
    /// `TCPI_OPT_SYN_DATA`: the SYN's data was acknowledged by the SYN-ACK. Both ends.
    #[doc(alias = "TCPI_OPT_SYN_DATA")]
    pub syn_data: bool,
    /// 0x80: created by a valid fast open SYN, also by one without data. Server side, new kernels.
    #[doc(alias = "TCPI_OPT_TFO_CHILD")]
    pub tfo_child: bool,
    /// Why fast open failed on the client side.
    #[doc(alias = "tcpi_fastopen_client_fail")]
    pub client_fail: ClientFail,
    /// Both ends use timestamps.
    pub timestamps: bool,
    /// `TCPI_OPT_USEC_TS`: this end's timestamps count microseconds. Since Linux 6.7.
    pub usec_timestamps: bool,
    /// Both ends use selective acknowledgments.
    pub sack: bool,
    /// Both ends scale their windows.
    pub window_scale: bool,
    /// ECN was negotiated.
    pub ecn: bool,
    /// Consecutive timeouts without an answer.
    pub retransmits: u8,
    /// The current retransmission timeout.
    #[cfg_attr(feature = "serde", serde(rename = "rto_us", serialize_with = "as_micros"))]
    pub rto: Option<Duration>,
    /// The maximum segment size for sending, in bytes.
    pub snd_mss: Option<u32>,
    /// The estimated maximum segment size of the peer, in bytes.
    pub rcv_mss: Option<u32>,
    /// Segments that were sent and not acknowledged. For a listener: the length of the accept queue.
    pub unacked: Option<u32>,
    /// Segments of those that arrived out of order. For a listener: the effective backlog.
    pub sacked: Option<u32>,
    /// Segments of those that are considered lost.
    pub lost: Option<u32>,
    /// Segments of those that were retransmitted.
    pub retrans: Option<u32>,
    /// The path MTU in bytes, as far as known.
    pub pmtu: Option<u32>,
    /// The smoothed round trip time. `None` if the kernel returned less.
    #[cfg_attr(feature = "serde", serde(rename = "rtt_us", serialize_with = "as_micros"))]
    pub rtt: Option<Duration>,
    /// The smoothed mean deviation of the round trip time.
    #[cfg_attr(feature = "serde", serde(rename = "rttvar_us", serialize_with = "as_micros"))]
    pub rttvar: Option<Duration>,
    /// The congestion window in segments.
    pub snd_cwnd: Option<u32>,
    /// The advertised MSS in bytes, less the timestamps option.
    pub advmss: Option<u32>,
    /// Retransmitted segments over the connection's lifetime.
    pub total_retrans: Option<u32>,
    /// Bytes sent and acknowledged.
    pub bytes_acked: Option<u64>,
    /// Bytes received, in order.
    pub bytes_received: Option<u64>,
    /// Segments sent, with and without data.
    pub segs_out: Option<u32>,
    /// Segments received, with and without data.
    pub segs_in: Option<u32>,
    /// Bytes in the send queue that were never sent.
    pub notsent_bytes: Option<u32>,
    /// The minimum round trip time. `None` also before the first measurement.
    #[cfg_attr(feature = "serde", serde(rename = "min_rtt_us", serialize_with = "as_micros"))]
    pub min_rtt: Option<Duration>,
    /// Segments with data that were received.
    pub data_segs_in: Option<u32>,
    /// Segments with data that were sent.
    pub data_segs_out: Option<u32>,
    /// Bytes sent, including retransmissions.
    pub bytes_sent: Option<u64>,
    /// Bytes retransmitted.
    pub bytes_retrans: Option<u64>,
    /// Timeouts over the connection's lifetime, including those of SYN and SYN-ACK. Since Linux 6.7.
    pub total_rto: Option<u16>,
    /// Time spent in recovering from timeouts. Since Linux 6.7.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "total_rto_time_us", serialize_with = "as_micros")
    )]
    pub total_rto_time: Option<Duration>,
}

impl TcpInfo {
    /// Parses what `getsockopt(TCP_INFO)` returned, of any length, because kernels differ.
    ///
    /// # Errors
    /// [`Error::Malformed`] below 8 bytes, which no kernel returns for a TCP socket.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let head = bytes.first_chunk::<{ offset::MIN_LENGTH }>().ok_or_else(|| {
            let (least, length) = (offset::MIN_LENGTH, bytes.len());
            Error::malformed("TCP_INFO", format!("at least {least} bytes are needed, not {length}"))
        })?;
        let options = head[offset::OPTIONS];
        let u32_at = |at| array_at(bytes, at).map(u32::from_ne_bytes);
        let u64_at = |at| array_at(bytes, at).map(u64::from_ne_bytes);
        let micros_at = |at| u32_at(at).map(|us| Duration::from_micros(us.into()));
        Ok(Self {
            state: TcpState::from_number(head[offset::STATE]),
            syn_data: options & TCPI_OPT_SYN_DATA != 0,
            tfo_child: options & TCPI_OPT_TFO_CHILD != 0,
            client_fail: ClientFail::from_bits(head[offset::CLIENT_FAIL] >> 1),
            timestamps: options & TCPI_OPT_TIMESTAMPS != 0,
            usec_timestamps: options & TCPI_OPT_USEC_TS != 0,
            sack: options & TCPI_OPT_SACK != 0,
            window_scale: options & TCPI_OPT_WSCALE != 0,
            ecn: options & TCPI_OPT_ECN != 0,
            retransmits: head[offset::RETRANSMITS],
            rto: micros_at(offset::RTO),
            snd_mss: u32_at(offset::SND_MSS),
            rcv_mss: u32_at(offset::RCV_MSS),
            unacked: u32_at(offset::UNACKED),
            sacked: u32_at(offset::SACKED),
            lost: u32_at(offset::LOST),
            retrans: u32_at(offset::RETRANS),
            pmtu: u32_at(offset::PMTU),
            rtt: micros_at(offset::RTT),
            rttvar: micros_at(offset::RTTVAR),
            snd_cwnd: u32_at(offset::SND_CWND),
            advmss: u32_at(offset::ADVMSS),
            total_retrans: u32_at(offset::TOTAL_RETRANS),
            bytes_acked: u64_at(offset::BYTES_ACKED),
            bytes_received: u64_at(offset::BYTES_RECEIVED),
            segs_out: u32_at(offset::SEGS_OUT),
            segs_in: u32_at(offset::SEGS_IN),
            notsent_bytes: u32_at(offset::NOTSENT_BYTES),
            // The kernel's minimum filter starts at the greatest number.
            min_rtt: u32_at(offset::MIN_RTT)
                .filter(|us| *us != u32::MAX)
                .map(|us| Duration::from_micros(us.into())),
            data_segs_in: u32_at(offset::DATA_SEGS_IN),
            data_segs_out: u32_at(offset::DATA_SEGS_OUT),
            bytes_sent: u64_at(offset::BYTES_SENT),
            bytes_retrans: u64_at(offset::BYTES_RETRANS),
            total_rto: array_at(bytes, offset::TOTAL_RTO).map(u16::from_ne_bytes),
            total_rto_time: u32_at(offset::TOTAL_RTO_TIME)
                .map(|ms| Duration::from_millis(ms.into())),
        })
    }
}

#[cfg(feature = "serde")]
#[expect(clippy::ref_option, reason = "serde's `serialize_with` passes a reference to the field")]
fn as_micros<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::Serialize as _;

    time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).serialize(serializer)
}

/// A TCP state, by its number in `TCP_INFO` and `/proc/net/tcp`.
///
/// # References
/// - [`include/net/tcp_states.h`](https://github.com/torvalds/linux/blob/v6.18/include/net/tcp_states.h)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// An unknown number.
    Unknown,
}

impl TcpState {
    /// Returns the state with the kernel's number; 12 (`TCP_NEW_SYN_RECV`) is [`SynRecv`](Self::SynRecv) too.
    #[must_use]
    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => Self::Unknown,
        }
    }

    /// Returns the word, as in text and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::SynRecv => "syn-recv",
            Self::FinWait1 => "fin-wait1",
            Self::FinWait2 => "fin-wait2",
            Self::TimeWait => "time-wait",
            Self::Close => "close",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `tcpi_fastopen_client_fail`: why fast open failed on the client side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum ClientFail {
    /// 0, `TFO_STATUS_UNSPEC`: nothing failed, or nothing was tried.
    #[default]
    Unspecified,
    /// 1, `TFO_COOKIE_UNAVAILABLE`: no cookie was cached when the connection was made. Set on each first connection,
    /// whether or not the server then grants one.
    CookieUnavailable,
    /// 2, `TFO_DATA_NOT_ACKED`: the SYN-ACK did not acknowledge the SYN's data.
    DataNotAcked,
    /// 3, `TFO_SYN_RETRANSMITTED`: the SYN with data got no answer, and one without data was sent.
    SynRetransmitted,
}

impl ClientFail {
    /// Returns the value of the lowest two bits.
    pub(super) const fn from_bits(bits: u8) -> Self {
        match bits & 0x3 {
            0 => Self::Unspecified,
            1 => Self::CookieUnavailable,
            2 => Self::DataNotAcked,
            _ => Self::SynRetransmitted,
        }
    }

    /// Returns the word, as in text and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::CookieUnavailable => "cookie-unavailable",
            Self::DataNotAcked => "data-not-acked",
            Self::SynRetransmitted => "syn-retransmitted",
        }
    }
}

impl fmt::Display for ClientFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18, client, loopback: SYN data was acknowledged, 20 bytes were sent and 2 received.
    const CLIENT: &str = "\
        010000000027aa01400d0300409c000000800000180200000000000000000000000000000000000000000000\
        00000000000000000000000000000000ffff0000d7ff00000e00000007000000ffffff7f0a000000cbff0000\
        0300000000000000d7ff0000000000006a36ac8f0f000000ffffffffffffffff140000000000000002000000\
        000000000300000002000000000000000e000000010000000100000000000000000000000000000000000000\
        0000000000000000000000000000000001000000000000001300000000000000000000000000000000000000\
        0000000000000000000001000000010000000000000000000000000000000000000000000000000000000000\
        00000000000000000000000000000000";

    /// Linux 6.18, the server's end of such a connection after its answer.
    const SERVER: &str = "\
        0100000000a7aa01e01c03000000000000800000180200000000000000000000000000000000000000000000\
        00000000000000000000000000000000ffff0000cbff00000c00000006000000ffffff7f0b000000cbff0000\
        0300000000000000cbff000000000000bb74732b12000000ffffffffffffffff020000000000000013000000\
        00000000010000000300000000000000080000000100000001000000000024f4000000000000000000000000\
        0000000000000000000000000000000002000000000000000200000000000000000000000000000000000000\
        0000000000000000000001000000010000000000000000000000000000000000000000000000000000000000\
        00000000000000000000000000000000";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn client_tcp_info_shows_acknowledged_syn_data() {
        let info = TcpInfo::parse(&bytes(CLIENT)).expect("captured from Linux");
        assert_eq!(info.state, TcpState::Established);
        assert!(info.syn_data && !info.tfo_child);
        assert_eq!(info.client_fail, ClientFail::Unspecified);
        assert!(info.timestamps && info.sack && info.window_scale && !info.ecn);
        assert_eq!(info.rtt, Some(Duration::from_micros(14)));
        assert_eq!(info.total_retrans, Some(0));
        assert_eq!((info.bytes_acked, info.bytes_received), (Some(20), Some(2)), "a SYN counts");
        assert_eq!((info.segs_out, info.segs_in), (Some(3), Some(2)));
        assert_eq!((info.data_segs_out, info.bytes_sent), (Some(1), Some(19)));
        assert_eq!((info.total_rto, info.total_rto_time), (Some(0), Some(Duration::ZERO)));
        assert_eq!(
            (info.snd_mss, info.advmss, info.pmtu),
            (Some(32_768), Some(65_483), Some(65_535))
        );
    }

    #[test]
    fn server_tcp_info_shows_a_fast_open_child() {
        let info = TcpInfo::parse(&bytes(SERVER)).expect("captured from Linux");
        assert!(info.syn_data && info.tfo_child, "0xa7 has both bits");
        assert_eq!(info.bytes_received, Some(19));
    }

    #[test]
    fn the_offsets_are_those_of_the_c_structure() {
        for (ours, theirs) in [
            (offset::STATE, offset_of!(libc::tcp_info, tcpi_state)),
            (offset::RETRANSMITS, offset_of!(libc::tcp_info, tcpi_retransmits)),
            (offset::OPTIONS, offset_of!(libc::tcp_info, tcpi_options)),
            (offset::RTO, offset_of!(libc::tcp_info, tcpi_rto)),
            (offset::SND_MSS, offset_of!(libc::tcp_info, tcpi_snd_mss)),
            (offset::RCV_MSS, offset_of!(libc::tcp_info, tcpi_rcv_mss)),
            (offset::UNACKED, offset_of!(libc::tcp_info, tcpi_unacked)),
            (offset::SACKED, offset_of!(libc::tcp_info, tcpi_sacked)),
            (offset::LOST, offset_of!(libc::tcp_info, tcpi_lost)),
            (offset::RETRANS, offset_of!(libc::tcp_info, tcpi_retrans)),
            (offset::PMTU, offset_of!(libc::tcp_info, tcpi_pmtu)),
            (offset::RTT, offset_of!(libc::tcp_info, tcpi_rtt)),
            (offset::RTTVAR, offset_of!(libc::tcp_info, tcpi_rttvar)),
            (offset::SND_CWND, offset_of!(libc::tcp_info, tcpi_snd_cwnd)),
            (offset::ADVMSS, offset_of!(libc::tcp_info, tcpi_advmss)),
            (offset::TOTAL_RETRANS, offset_of!(libc::tcp_info, tcpi_total_retrans)),
        ] {
            assert_eq!(ours, theirs, "an offset moved");
        }
    }

    #[test]
    fn client_fail_ignores_the_neighbouring_bit() {
        let mut bytes = [0; 8];
        for (byte, code) in [
            (0b001, ClientFail::Unspecified),
            (0b010, ClientFail::CookieUnavailable),
            (0b011, ClientFail::CookieUnavailable),
            (0b101, ClientFail::DataNotAcked),
            (0b110, ClientFail::SynRetransmitted),
            (0b1111_1000, ClientFail::Unspecified),
        ] {
            bytes[7] = byte;
            assert_eq!(TcpInfo::parse(&bytes).expect("8 bytes").client_fail, code, "{byte:#b}");
        }
    }

    #[test]
    fn short_tcp_info_of_an_old_kernel_lacks_later_fields() {
        let all = bytes(CLIENT);
        let info = TcpInfo::parse(&all[..104]).expect("Linux 2.6 returned as much");
        assert_eq!((info.total_retrans, info.bytes_acked), (Some(0), None));
        let info = TcpInfo::parse(&all[..232]).expect("Linux 5.10 returned as much");
        assert_eq!((info.bytes_acked, info.total_rto), (Some(20), None));
        let info = TcpInfo::parse(&all[..8]).expect("the least");
        assert_eq!((info.state, info.rtt), (TcpState::Established, None));
        TcpInfo::parse(&all[..7]).expect_err("the fail code is missing");
        TcpInfo::parse(&[]).expect_err("nothing");
    }

    #[test]
    fn min_rtt_without_a_sample_is_none() {
        let mut all = bytes(CLIENT);
        all[148..152].fill(0xff);
        assert_eq!(TcpInfo::parse(&all).expect("valid").min_rtt, None);
    }

    #[test]
    fn states_have_the_kernels_numbers() {
        let words: Vec<_> = (0..=13).map(|n| TcpState::from_number(n).as_str()).collect();
        assert_eq!(words[1..4], ["established", "syn-sent", "syn-recv"]);
        assert_eq!(words[4..8], ["fin-wait1", "fin-wait2", "time-wait", "close"]);
        assert_eq!(words[8..12], ["close-wait", "last-ack", "listen", "closing"]);
        assert_eq!((words[0], words[12], words[13]), ("unknown", "syn-recv", "unknown"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_has_the_words_and_the_units_of_the_documentation() {
        let mut json = serde_json::to_value(TcpInfo::parse(&bytes(CLIENT)).unwrap()).unwrap();
        assert_eq!(json["rtt_us"].take(), 14);
        for number in 0..=12 {
            let state = TcpState::from_number(number);
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for bits in 0..4 {
            let fail = ClientFail::from_bits(bits);
            assert_eq!(serde_json::to_value(fail).unwrap(), fail.as_str());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(TcpInfo::parse(&bytes).is_ok(), bytes.len() >= 8);
        }

        #[test]
        fn a_longer_answer_never_changes_an_earlier_field(
            bytes in proptest::collection::vec(any::<u8>(), 104..300), keep in 104..300_usize,
        ) {
            let all = TcpInfo::parse(&bytes).expect("long enough");
            let part = TcpInfo::parse(&bytes[..keep.min(bytes.len())]).expect("long enough");
            prop_assert_eq!(part.total_retrans, all.total_retrans);
            prop_assert!(part.bytes_acked.is_none() || part.bytes_acked == all.bytes_acked);
            prop_assert!(part.total_rto.is_none() || part.total_rto == all.total_rto);
        }
    }
}
