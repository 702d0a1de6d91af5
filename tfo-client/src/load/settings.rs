//! What is to be done, as the flags say.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::file::Mode;

#[derive(Debug, Clone)]
pub(super) struct LoadSettings {
    pub(super) pace: Pace,
    /// Connections that are open at once, over all threads.
    pub(super) concurrency: usize,
    pub(super) threads: u32,
    pub(super) end: End,
    pub(super) mix: Mix,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mix {
    All(Mode),
    /// Every second connection is a regular one.
    InTurn,
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
