//! What was seen of one connection, as plain values: by its client, by its server, or by both.
//!
//! Every field is something that one of the two hosts can observe without privilege. `None` means
//! "not looked at or not available", never "no".

use std::net::{IpAddr, SocketAddr};

use crate::cookie::FastOpenCookie;
#[cfg(feature = "cookie")]
use crate::cookie::forensics::Origin;
use crate::host::{CounterChange, FastOpenFlags};
use crate::socket::{Attempt, SynRecord, TcpBits, TcpInfo};

/// An address and a port, in a JSON Schema.
#[cfg(feature = "schema")]
const ADDRESS: &str = r"^([0-9.]+|\[[0-9a-f:.]+(%[^\]]+)?\]):[0-9]{1,5}$";

/// All that is known of one connection. At least one half should be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Evidence {
    /// What the client's host saw.
    pub client: Option<ClientEvidence>,
    /// What the server's host saw.
    pub server: Option<ServerEvidence>,
}

impl Evidence {
    /// Joins the two halves.
    #[must_use]
    pub fn new(client: Option<ClientEvidence>, server: Option<ServerEvidence>) -> Self {
        Self { client, server }
    }

    /// Returns whether both halves are of one connection, by the `TSval` that was sent and the one that arrived.
    /// `Some(false)`: a proxy opened the one that the server saw, or a box rewrites timestamps.
    #[must_use]
    pub fn same_connection(&self) -> Option<bool> {
        let sent = self.client.as_ref()?.syn_timestamps?;
        let arrived = self.server.as_ref()?.syn.saved()?.tsval?;
        if !sent.contain(arrived) {
            return Some(false);
        }
        sent.own_offset.then_some(true)
    }
}

/// What the client did and what its kernel says of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ClientEvidence {
    /// The server's address.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = ADDRESS)))]
    pub remote: SocketAddr,
    /// The connection's own address, once it had one.
    #[cfg_attr(feature = "serde", serde(default))]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = ADDRESS)))]
    pub local: Option<SocketAddr>,
    /// How many bytes the first message has.
    pub message_bytes: usize,
    /// What the kernel did with the first message.
    pub attempt: Attempt,
    /// How the connection ended, as far as it was watched.
    pub result: Ending,
    /// `TCP_INFO`: at the first byte of the answer, or when the attempt was given up.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tcp: Option<TcpBits>,
    /// `net.ipv4.tcp_fastopen` of the client's namespace before connecting.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tcp_fastopen: Option<FastOpenFlags>,
    /// The cached cookie before connecting. `None`: the cache could not be read.
    #[cfg_attr(feature = "serde", serde(default))]
    pub cookie_before: Option<CachedCookie>,
    /// The cached cookie afterwards. `None`: the cache could not be read.
    #[cfg_attr(feature = "serde", serde(default))]
    pub cookie_after: Option<CachedCookie>,
    /// What the client namespace's counters did meanwhile; other connections count too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub counters: Option<CounterChange>,
    /// A regular connection made after this one had failed, to see whether that one passes.
    #[cfg_attr(feature = "serde", serde(default))]
    pub regular_check: Option<RegularCheck>,
    /// What became of the bytes that were sent, when `tcp` was read.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "SentData"))]
    pub sent: Option<SentData>,
    /// The `TSvals` that the connection's SYNs can have carried. Absent without timestamps.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "SynTimestamps"))]
    pub syn_timestamps: Option<SynTimestamps>,
    /// Whether the route to the server has `fastopen_no_cookie`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub route_without_cookie: Option<bool>,
    /// `net.ipv4.tcp_ecn`: with 1 the first SYN of a connection asks for ECN.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "u32"))]
    pub tcp_ecn: Option<u32>,
    /// From the start of the connection to the first byte of the answer, µs.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub first_byte_us: Option<u64>,
    /// The addresses that the cached cookie was made for, as an earlier connection of this run showed.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "CookieAddresses"))]
    pub cookie_addresses: Option<CookieAddresses>,
    /// What the other connections of this run add to a fault of this one.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "Repetition"))]
    pub repetition: Option<Repetition>,
}

/// What became of the bytes that a client sent. A field is absent where the kernel is older than it.
///
/// # References
/// - [`struct tcp_info`](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/tcp.h)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct SentData {
    /// `tcpi_unacked`: segments sent and not acknowledged.
    pub unacked: Option<u32>,
    /// `tcpi_bytes_acked`: bytes that were acknowledged, the SYN counted as one.
    pub bytes_acked: Option<u64>,
    /// `tcpi_bytes_retrans`: bytes that were sent again.
    pub bytes_retrans: Option<u64>,
    /// `tcpi_pmtu`: the path's MTU, as far as it is known.
    pub path_mtu: Option<u32>,
}

impl From<&TcpInfo> for SentData {
    fn from(info: &TcpInfo) -> Self {
        Self {
            unacked: info.unacked,
            bytes_acked: info.bytes_acked,
            bytes_retrans: info.bytes_retrans,
            path_mtu: info.pmtu,
        }
    }
}

/// The `TSvals` that the SYNs of a connection can have carried, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct SynTimestamps {
    /// The earliest.
    pub earliest: u32,
    /// The latest. `TSvals` wrap around.
    pub latest: u32,
    /// `net.ipv4.tcp_timestamps` is 1: each connection has an offset of its own, so that no other has the same
    /// `TSval` but by chance.
    pub own_offset: bool,
}

impl SynTimestamps {
    /// Creates the timestamps between these two.
    #[must_use]
    pub const fn new(earliest: u32, latest: u32, own_offset: bool) -> Self {
        Self { earliest, latest, own_offset }
    }

    /// Returns whether a SYN of the connection can have carried this `TSval`.
    #[must_use]
    pub const fn contain(&self, tsval: u32) -> bool {
        tsval.wrapping_sub(self.earliest) <= self.latest.wrapping_sub(self.earliest)
    }
}

/// The addresses that a cookie was made for, as its server saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct CookieAddresses {
    /// The client's address as it arrived.
    pub source: IpAddr,
    /// The server's own address.
    pub destination: IpAddr,
}

impl CookieAddresses {
    /// Returns the addresses of a cookie that came with this connection. `None`: the server does not know its own address.
    #[must_use]
    pub fn of(server: &ServerEvidence) -> Option<Self> {
        Some(Self { source: server.source_ip(), destination: server.destination_ip()? })
    }
}

/// How often a fault was met in one run, and what regular connections did that were made in turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Repetition {
    /// SYNs with data that met this fault, this connection included.
    pub faults: u32,
    /// SYNs with data that did not.
    pub passed: u32,
    /// Regular connections that were made as a control.
    pub controls: u32,
    /// Those of them that failed in the same way, or needed a retransmission too.
    pub controls_alike: u32,
}

impl Repetition {
    /// The fewest repetitions of a fault that are more than chance, and how many regular connections have to pass in
    /// turn with them.
    pub(crate) const FAULTS: u32 = 3;
    pub(crate) const CONTROLS: u32 = 20;
    /// With how many controls it is said that they fail alike. Where a quarter of them fails by chance, four in a row
    /// do in 1 of 256 runs.
    pub(crate) const ALIKE: u32 = 4;

    /// Whether regular connections fail as those do whose SYN has data.
    pub(crate) fn regular_fails_alike(self) -> Option<bool> {
        let Self { faults, passed, controls, controls_alike: alike } = self;
        if alike == 0 {
            let decisive = faults >= Self::FAULTS && passed == 0;
            return (decisive && chance(faults, controls) < RARE).then_some(false);
        }
        // Of a path on which each SYN with data fails, loss makes some of the others fail too.
        let share = if passed > 0 { alike * 2 >= controls } else { alike == controls };
        (controls >= Self::ALIKE && share).then_some(true)
    }
}

/// As rarely as that chance blames the path.
const RARE: f64 = 1.0 / 7_000.0;

/// How probable it is at most that by chance each of these connections fails and each of those passes, whatever the
/// path's loss or a balancer's share of broken servers is.
fn chance(fail: u32, pass: u32) -> f64 {
    let (fail, pass) = (f64::from(fail), f64::from(pass));
    // The share with which it is most probable.
    let share = fail / (fail + pass);
    share.powf(fail) * (1.0 - share).powf(pass)
}

/// The key that made a cookie. Reveals nothing about other clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum CookieOrigin {
    /// A key that is in use made it, for the addresses of this connection.
    Current,
    /// Another key of the ring made it, for the addresses of this connection: an earlier one, or the next.
    OtherKey,
    /// A key of the ring made it, for another source address.
    OtherSource,
    /// No key that the server knows made it.
    Unknown,
}

#[cfg(feature = "cookie")]
impl From<Origin> for CookieOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Primary | Origin::Backup => Self::Current,
            Origin::Next | Origin::Previous(_) => Self::OtherKey,
            Origin::OtherSource(_) => Self::OtherSource,
            Origin::Unknown => Self::Unknown,
        }
    }
}

/// How the watched part of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Ending {
    /// The handshake ended, and at least one byte of an answer came.
    Answered,
    /// The handshake ended; no answer was waited for.
    Connected,
    /// The handshake ended, and the peer closed without an answer.
    Closed,
    /// The handshake ended, and no answer came in the time given.
    NoAnswer,
    /// The handshake ended, then the connection failed with this errno before any answer.
    Broken(i32),
    /// The handshake did not end in the time given.
    NoHandshake,
    /// Connecting failed with this errno.
    Failed(i32),
}

/// What became of a regular connection, made without data in its SYN, after one with it had failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum RegularCheck {
    /// It was established.
    Connected,
    /// It failed with this errno.
    Failed(i32),
    /// Its handshake did not end in the time given.
    TimedOut,
}

/// What the `tcp_metrics` cache holds for one pair of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum CachedCookie {
    /// No cookie is cached.
    None,
    /// This cookie is cached; in text as hex digits.
    Hex(
        #[cfg_attr(
            feature = "schema",
            schemars(with = "String", regex(pattern = "^([0-9a-f]{2}){4,16}$"))
        )]
        FastOpenCookie,
    ),
}

/// What the server's host saw of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ServerEvidence {
    /// The client's address as it arrived.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = ADDRESS)))]
    pub source: SocketAddr,
    /// The server's own address of this connection.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = ADDRESS)))]
    pub destination: SocketAddr,
    /// The SYN as it arrived.
    pub syn: SynRecord,
    /// `TCP_INFO` of the accepted socket.
    pub tcp: TcpBits,
    /// What the server's host allows; absent where it was not asked.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "ServerHost"))]
    pub host: Option<ServerHost>,
    /// What the server namespace's counters did since the connection before this one.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "ServerCounters"))]
    pub counters: Option<Box<ServerCounters>>,
    /// Which key made the cookie of the SYN, where the server knows its keys.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "CookieOrigin"))]
    pub cookie_origin: Option<CookieOrigin>,
}

/// What the server's host allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ServerHost {
    /// `net.ipv4.tcp_fastopen` of the server's namespace.
    pub tcp_fastopen: FastOpenFlags,
    /// The listener's effective fast open queue length; 0: fast open is off there.
    pub queue: u32,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: u32,
    /// This kernel is known to set `TCPI_OPT_TFO_CHILD`: a connection without it was not fast opened.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub sets_child_bit: bool,
    /// Whether `TCPFastOpenListenOverflow` rose in the seconds before, as far as that was looked at.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub overflowed: Option<bool>,
    /// Whether this client needs a cookie, by the setting, the listener and the route. Absent: not looked at.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub asks_for_cookies: Option<bool>,
}

/// How the server's counters changed around one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ServerCounters {
    /// Connections that were accepted while the counters changed, this one included.
    pub connections: u32,
    /// Whether nobody else can have caused the change: no other connection was accepted or on its way, and no
    /// other listener of the namespace takes fast open. Absent: that was not looked at.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub alone: Option<bool>,
    /// The change.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub change: CounterChange,
    /// The change in the seconds before. A SYN that came then, of a connection that was accepted only
    /// now, was counted there.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "CounterChange::is_zero"))]
    pub earlier: CounterChange,
}

impl CachedCookie {
    /// Returns the cookie, if one is cached.
    #[must_use]
    pub const fn cookie(self) -> Option<FastOpenCookie> {
        match self {
            Self::Hex(cookie) => Some(cookie),
            Self::None => None,
        }
    }
}

impl ServerEvidence {
    /// The client's address as it arrived, without the port.
    #[must_use]
    pub(crate) fn source_ip(&self) -> IpAddr {
        self.source.ip().to_canonical()
    }

    /// The server's own address, without the port. `None`: only its listener's is known, which is on all of them.
    #[must_use]
    pub(crate) fn destination_ip(&self) -> Option<IpAddr> {
        Some(self.destination.ip().to_canonical()).filter(|ip| !ip.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_blames_the_path_as_rarely_as_is_said() {
        let seen = |faults, controls| Repetition { faults, controls, ..Repetition::default() };
        let blames = |faults, controls| seen(faults, controls).regular_fails_alike() == Some(false);
        for (faults, controls) in [(3, 20), (4, 12), (5, 9), (6, 7), (10, 5)] {
            assert!(blames(faults, controls), "{faults} of {controls}");
            assert!(!blames(faults, controls - 1), "{faults} of {controls} less one");
            for percent in 1..100 {
                let lost = f64::from(percent) / 100.0;
                let failed = lost.powf(faults.into());
                let chance = failed * (1.0 - lost).powf(controls.into());
                assert!(chance < RARE, "{percent} % lost: {chance}");
            }
        }
        assert!(blames(Repetition::FAULTS, Repetition::CONTROLS));
        assert!(!blames(Repetition::FAULTS - 1, 1_000));
    }
}
