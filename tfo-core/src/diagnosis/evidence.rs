//! What was seen of one connection, as plain values: by its client, by its server, or by both.
//!
//! Every field is something that one of the two hosts can observe without privilege. `None` means
//! "not looked at or not available", never "no".

use std::net::{IpAddr, SocketAddr};

use crate::cookie::FastOpenCookie;
use crate::host::{CounterChange, FastOpenFlags};
use crate::socket::{Attempt, SynRecord, TcpBits};

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
}

/// How the server's counters changed around one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ServerCounters {
    /// Connections that were accepted while the counters changed, this one included. Only with 1
    /// does the change belong to this connection alone.
    pub connections: u32,
    /// The change.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub change: CounterChange,
    /// The change in the seconds before. A SYN that came then, of a connection that was accepted only
    /// now, was counted there.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "CounterChange::is_zero"))]
    pub earlier: CounterChange,
}

impl CachedCookie {
    /// The cookie, if one is cached.
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
    pub fn source_ip(&self) -> IpAddr {
        self.source.ip().to_canonical()
    }
}
