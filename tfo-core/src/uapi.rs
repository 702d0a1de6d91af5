//! Integers of the kernel's interface that the `libc` crate lacks for some targets.

/// `TCPOPT_FASTOPEN`, [`include/net/tcp.h`](https://github.com/torvalds/linux/blob/v6.12/include/net/tcp.h).
pub(crate) const TCPOPT_FASTOPEN: u8 = 34;
/// `TCPOPT_EXP`: shared by experiments, each with a magic number (RFC 6994).
pub(crate) const TCPOPT_EXP: u8 = 254;
/// `TCPOPT_FASTOPEN_MAGIC`: fast open's number in [`TCPOPT_EXP`], in network byte order.
pub(crate) const TCPOPT_FASTOPEN_MAGIC: [u8; 2] = [0xF9, 0x89];
/// `TCP_FASTOPEN_COOKIE_MIN`, [`include/linux/tcp.h`](https://github.com/torvalds/linux/blob/v6.12/include/linux/tcp.h).
pub(crate) const TCP_FASTOPEN_COOKIE_MIN: usize = 4;
/// `TCP_FASTOPEN_COOKIE_MAX`.
pub(crate) const TCP_FASTOPEN_COOKIE_MAX: usize = 16;

/// `TCPI_OPT_TIMESTAMPS`, [`include/uapi/linux/tcp.h`](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/tcp.h).
pub(crate) const TCPI_OPT_TIMESTAMPS: u8 = 0x01;
/// `TCPI_OPT_SACK`.
pub(crate) const TCPI_OPT_SACK: u8 = 0x02;
/// `TCPI_OPT_WSCALE`.
pub(crate) const TCPI_OPT_WSCALE: u8 = 0x04;
/// `TCPI_OPT_ECN`.
pub(crate) const TCPI_OPT_ECN: u8 = 0x08;
/// `TCPI_OPT_SYN_DATA`.
pub(crate) const TCPI_OPT_SYN_DATA: u8 = 0x20;
/// `TCPI_OPT_USEC_TS`.
pub(crate) const TCPI_OPT_USEC_TS: u8 = 0x40;
/// `TCPI_OPT_TFO_CHILD`.
pub(crate) const TCPI_OPT_TFO_CHILD: u8 = 0x80;

/// The `tcp_metrics` generic netlink family,
/// [`include/uapi/linux/tcp_metrics.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/tcp_metrics.h).
pub(crate) mod tcp_metrics {
    /// `TCP_METRICS_GENL_NAME`.
    pub(crate) const GENL_NAME: &str = "tcp_metrics";
    /// `TCP_METRICS_GENL_VERSION`.
    pub(crate) const GENL_VERSION: u8 = 1;

    /// `TCP_METRICS_CMD_GET`.
    pub(crate) const CMD_GET: u8 = 1;
    /// `TCP_METRICS_CMD_DEL`.
    pub(crate) const CMD_DEL: u8 = 2;

    /// `TCP_METRICS_ATTR_ADDR_IPV4`: destination, network byte order.
    pub(crate) const ATTR_ADDR_IPV4: u16 = 1;
    /// `TCP_METRICS_ATTR_ADDR_IPV6`.
    pub(crate) const ATTR_ADDR_IPV6: u16 = 2;
    /// `TCP_METRICS_ATTR_AGE`: u64, ms.
    pub(crate) const ATTR_AGE: u16 = 3;
    /// `TCP_METRICS_ATTR_VALS`: nested u32, each numbered by `enum tcp_metric_index` plus 1.
    pub(crate) const ATTR_VALS: u16 = 6;
    /// `TCP_METRICS_ATTR_FOPEN_MSS`: u16.
    pub(crate) const ATTR_FOPEN_MSS: u16 = 7;
    /// `TCP_METRICS_ATTR_FOPEN_SYN_DROPS`: u16.
    pub(crate) const ATTR_FOPEN_SYN_DROPS: u16 = 8;
    /// `TCP_METRICS_ATTR_FOPEN_SYN_DROP_TS`: u64, ms since.
    pub(crate) const ATTR_FOPEN_SYN_DROP_TS: u16 = 9;
    /// `TCP_METRICS_ATTR_FOPEN_COOKIE`.
    pub(crate) const ATTR_FOPEN_COOKIE: u16 = 10;
    /// `TCP_METRICS_ATTR_SADDR_IPV4`: source, network byte order.
    pub(crate) const ATTR_SADDR_IPV4: u16 = 11;
    /// `TCP_METRICS_ATTR_SADDR_IPV6`.
    pub(crate) const ATTR_SADDR_IPV6: u16 = 12;

    /// `TCP_METRIC_RTT_US` plus 1: µs times 8.
    pub(crate) const VAL_RTT_US: u16 = 6;
    /// `TCP_METRIC_RTTVAR_US` plus 1: µs times 4.
    pub(crate) const VAL_RTTVAR_US: u16 = 7;
}

/// Sockets by netlink, [`include/uapi/linux/inet_diag.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h).
pub(crate) mod inet_diag {
    /// `SOCK_DIAG_BY_FAMILY`.
    pub(crate) const SOCK_DIAG_BY_FAMILY: u16 = 20;
    /// `INET_DIAG_INFO`: `struct tcp_info`; asked for by the bit of its number less 1.
    pub(crate) const INET_DIAG_INFO: u16 = 2;
    /// `INET_DIAG_SKMEMINFO`: an array of `u32`.
    pub(crate) const INET_DIAG_SKMEMINFO: u16 = 7;
    /// `SK_MEMINFO_DROPS`: its index there.
    pub(crate) const SK_MEMINFO_DROPS: usize = 8;
    /// `sizeof(struct inet_diag_req_v2)`.
    pub(crate) const REQUEST_SIZE: usize = 56;

    /// Offsets in `struct inet_diag_msg`. Ports and addresses are in network byte order.
    pub(crate) mod message {
        pub(crate) const STATE: usize = 1;
        pub(crate) const SOURCE_PORT: usize = 4;
        pub(crate) const DESTINATION_PORT: usize = 6;
        pub(crate) const SOURCE: usize = 8;
        pub(crate) const DESTINATION: usize = 24;
        /// Of a listener: how many connections wait in the accept queue.
        pub(crate) const RECEIVE_QUEUE: usize = 56;
        /// Of a listener: how long that queue may be.
        pub(crate) const SEND_QUEUE: usize = 60;
        pub(crate) const UID: usize = 64;
        pub(crate) const INODE: usize = 68;
        pub(crate) const SIZE: usize = 72;
    }
}

/// Routes by netlink, [`include/uapi/linux/rtnetlink.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/rtnetlink.h).
pub(crate) mod route {
    /// `RTM_GETROUTE`.
    pub(crate) const RTM_GETROUTE: u16 = 26;
    /// `sizeof(struct rtmsg)`.
    pub(crate) const HEADER_SIZE: usize = 12;
    /// Offset of `rtm_dst_len`.
    pub(crate) const PREFIX: usize = 1;
    /// The offset of `rtm_src_len`.
    pub(crate) const SOURCE_PREFIX: usize = 2;
    /// Offset of `rtm_table`; 252 means a table that needs [`RTA_TABLE`].
    pub(crate) const TABLE: usize = 4;
    /// Offset of `rtm_flags`.
    pub(crate) const FLAGS: usize = 8;
    /// `RTM_F_CLONED`.
    pub(crate) const RTM_F_CLONED: u32 = 0x200;
    /// `RT_TABLE_MAIN`.
    pub(crate) const RT_TABLE_MAIN: u32 = 254;

    /// `RTA_DST`.
    pub(crate) const RTA_DST: u16 = 1;
    /// `RTA_SRC`.
    pub(crate) const RTA_SRC: u16 = 2;
    /// `RTA_OIF`.
    pub(crate) const RTA_OIF: u16 = 4;
    /// `RTA_GATEWAY`.
    pub(crate) const RTA_GATEWAY: u16 = 5;
    /// `RTA_PRIORITY`.
    pub(crate) const RTA_PRIORITY: u16 = 6;
    /// `RTA_PREFSRC`.
    pub(crate) const RTA_PREFSRC: u16 = 7;
    /// `RTA_IP_PROTO`.
    pub(crate) const RTA_IP_PROTO: u16 = 27;
    /// `RTA_DPORT`: network byte order.
    pub(crate) const RTA_DPORT: u16 = 29;
    /// `RTA_METRICS`: nested u32.
    pub(crate) const RTA_METRICS: u16 = 8;
    /// `RTA_TABLE`.
    pub(crate) const RTA_TABLE: u16 = 15;
    /// `RTAX_FASTOPEN_NO_COOKIE`.
    pub(crate) const RTAX_FASTOPEN_NO_COOKIE: u16 = 17;
}

/// `VETH_INFO_PEER`, [`include/uapi/linux/veth.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/veth.h).
#[cfg(feature = "lab")]
pub(crate) const VETH_INFO_PEER: u16 = 1;

/// Packet sockets, [`include/uapi/linux/if_packet.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/if_packet.h).
#[cfg(feature = "capture")]
pub(crate) mod packet {
    /// `PACKET_RX_RING`.
    pub(crate) const PACKET_RX_RING: i32 = 5;
    /// `PACKET_STATISTICS`.
    #[cfg(feature = "lab")]
    pub(crate) const PACKET_STATISTICS: i32 = 6;
    /// `PACKET_VERSION`.
    pub(crate) const PACKET_VERSION: i32 = 10;
    /// `PACKET_IGNORE_OUTGOING`.
    pub(crate) const PACKET_IGNORE_OUTGOING: i32 = 23;
    /// `TPACKET_V2` of `enum tpacket_versions`.
    pub(crate) const TPACKET_V2: i32 = 1;
    /// `PACKET_OUTGOING`: this host sent it.
    pub(crate) const PACKET_OUTGOING: u8 = 4;
    /// `TP_STATUS_USER`: the frame is the program's, until it writes 0 (`TP_STATUS_KERNEL`).
    pub(crate) const TP_STATUS_USER: u32 = 1;

    /// Offsets in `struct tpacket2_hdr`; all fields are in the host's byte order.
    pub(crate) mod header {
        pub(crate) const SNAPLEN: usize = 8;
        pub(crate) const MAC: usize = 12;
        pub(crate) const SEC: usize = 16;
        pub(crate) const NSEC: usize = 20;
        /// `sll_hatype` of the `struct sockaddr_ll` that follows the 32 bytes of the header.
        pub(crate) const HARDWARE_TYPE: usize = 32 + 8;
        /// Offset of `sll_pkttype`.
        pub(crate) const PACKET_TYPE: usize = 32 + 10;
    }
}

/// Offload settings, [`include/uapi/linux/ethtool.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/ethtool.h).
#[cfg(feature = "lab")]
pub(crate) mod ethtool {
    /// `SIOCETHTOOL`, in the type that this target's `ioctl(2)` takes.
    pub(crate) const SIOCETHTOOL: libc::Ioctl = 0x8946;
    /// `ETHTOOL_STXCSUM`: whether checksums are left to the device.
    pub(crate) const STXCSUM: u32 = 0x17;
    /// `ETHTOOL_STSO`: whether TCP segmentation is left to the device.
    pub(crate) const STSO: u32 = 0x1f;
    /// `ETHTOOL_SGSO`: whether segmentation is postponed until just before the device.
    pub(crate) const SGSO: u32 = 0x24;
    /// `ETHTOOL_SGRO`: whether received segments are joined.
    pub(crate) const SGRO: u32 = 0x2c;
}

/// `struct ndmsg`'s attributes, [`include/uapi/linux/neighbour.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/neighbour.h).
#[cfg(feature = "lab")]
pub(crate) mod neighbour {
    /// `NDA_DST`.
    pub(crate) const DST: u16 = 1;
    /// `NDA_LLADDR`.
    pub(crate) const LLADDR: u16 = 2;
}
