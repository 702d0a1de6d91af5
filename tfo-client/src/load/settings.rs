//! The settings of a run, as the flags describe them.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::socket::Method;

use crate::config::file::InterfaceName;

#[derive(Debug, Clone)]
pub(super) struct LoadSettings {
    pub(super) pace: Pace,
    /// The maximum number of open connections, over all threads.
    pub(super) concurrency: usize,
    pub(super) threads: u32,
    pub(super) length: RunLength,
    pub(super) mode: LoadMode,
    pub(super) message: LoadMessage,
    pub(super) expect: Expect,
    /// Local addresses to connect from, in turn; if empty, the kernel chooses.
    pub(super) sources: Vec<IpAddr>,
    /// The interface to connect by.
    pub(super) interface: InterfaceName,
    /// Whether to close with a RST.
    pub(super) reset: bool,
    /// The maximum time from a connection's start to its end.
    pub(super) timeout: Duration,
    /// The minimum number of replies per second.
    pub(super) fail_under: Option<u32>,
    /// The maximum of the 99th percentile of the time to the first byte.
    pub(super) max_p99: Option<Duration>,
}

/// How fast connections are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Each as soon as another one has ended.
    Fast,
    /// This number per second, however long they take.
    Rate(u32),
}

/// How long connections are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunLength {
    Time(Duration),
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
    /// Alternates auto and off.
    Mixed,
}

impl LoadMode {
    /// Returns the methods that connections use in turn.
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
    /// A request to a mirror, of this size in bytes.
    Generated(usize),
    /// A GET for this path.
    Http(String),
}

/// The expected reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    /// No reply; connections do not wait for one.
    Nothing,
    /// A reply that begins with this text, has at least one byte, and ends when the server closes.
    Beginning(String),
    /// A reply of this number of bytes, after which this end closes.
    Bytes(u64),
    /// An HTTP response with this status; `None`: 200 to 399.
    Http(Option<u32>),
}
