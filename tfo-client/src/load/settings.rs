//! What is to be done, as the flags say.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::socket::Method;

#[derive(Debug, Clone)]
pub(super) struct LoadSettings {
    pub(super) pace: Pace,
    /// Connections that are open at once, over all threads.
    pub(super) concurrency: usize,
    pub(super) threads: u32,
    pub(super) end: End,
    pub(super) mode: LoadMode,
    pub(super) message: LoadMessage,
    pub(super) expect: Expect,
    /// Local addresses to connect from, in turn; none leaves it to the kernel.
    pub(super) sources: Vec<IpAddr>,
    /// Close with a RST.
    pub(super) reset: bool,
    /// From a connection's start to its end.
    pub(super) timeout: Duration,
    /// Fewer replies a second break the limit.
    pub(super) fail_under: Option<u32>,
    /// A 99th percentile above breaks the limit.
    pub(super) max_p99: Option<Duration>,
}

/// When connections are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As soon as another one has ended.
    Fast,
    /// So many a second, whatever becomes of them.
    Rate(u32),
}

/// When no more are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    After(Duration),
    Count(u64),
}

/// How the first bytes are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LoadMode {
    #[default]
    Auto,
    Sendto,
    Connect,
    Off,
    /// Auto and off in turn.
    Mixed,
}

impl LoadMode {
    /// The ways that connections take in turn.
    pub(super) fn methods(self) -> &'static [Method] {
        match self {
            Self::Auto => &[Method::Auto],
            Self::Sendto => &[Method::SendTo],
            Self::Connect => &[Method::Connect],
            Self::Off => &[Method::Off],
            Self::Mixed => &[Method::Auto, Method::Off],
        }
    }
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoadMessage {
    Text(String),
    /// A mirror's request of that many bytes.
    Generated(usize),
    /// A GET for this path.
    Http(String),
}

/// The reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    /// None is waited for.
    Nothing,
    /// It begins with this, is at least one byte, and ends with the server's close.
    Beginning(String),
    /// It has that many bytes; then this end closes.
    Bytes(u64),
    /// A response with this status, or one from 200 to 399.
    Http(Option<u32>),
}
