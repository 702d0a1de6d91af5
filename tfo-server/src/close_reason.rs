//! The reasons for closing a connection early.

use std::fmt;
use std::io;

/// A reason without its error: one byte, held by connections and counted by metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseKind {
    HandshakeTimeout,
    HeaderTimeout,
    IdleTimeout,
    /// All was sent, and the peer did not close in time.
    LingerTimeout,
    /// A request arrived after a stopping server had closed the idle connection.
    RequestTooLate,
    DrainTimeout,
    SecondSignal,
    WorkerFailed,
    /// The source address had reached its maximum number of connections.
    PerSource,
    /// The peer or its host has reset the connection.
    Reset,
    /// As [`Reset`](Self::Reset), but noticed when sending.
    BrokenPipe,
    /// The peer's host did not acknowledge the data.
    TimedOut,
    /// The connection did not start with a valid PROXY protocol header.
    ProxyHeader,
    /// No upstream could be reached.
    NoUpstream,
    /// An upstream failed, and no other may be tried, because it may have received the client's first bytes.
    UpstreamLost,
    /// This host had no socket for the upstream connection.
    NoSocket,
    /// The upstream or its host has reset its connection.
    UpstreamReset,
    /// Another socket error.
    Error,
}

impl CloseKind {
    pub(crate) const ALL: [Self; 18] = [
        Self::HandshakeTimeout,
        Self::HeaderTimeout,
        Self::IdleTimeout,
        Self::LingerTimeout,
        Self::RequestTooLate,
        Self::DrainTimeout,
        Self::SecondSignal,
        Self::WorkerFailed,
        Self::PerSource,
        Self::Reset,
        Self::BrokenPipe,
        Self::TimedOut,
        Self::ProxyHeader,
        Self::NoUpstream,
        Self::UpstreamLost,
        Self::NoSocket,
        Self::UpstreamReset,
        Self::Error,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake not completed",
            Self::HeaderTimeout => "header-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::LingerTimeout => "linger-timeout",
            Self::RequestTooLate => "request after close",
            Self::DrainTimeout => "drain-timeout",
            Self::SecondSignal => "second signal",
            Self::WorkerFailed => "a worker has failed",
            Self::PerSource => "connections-per-source",
            Self::Reset => "connection reset",
            Self::BrokenPipe => "broken pipe",
            Self::TimedOut => "timed out",
            Self::ProxyHeader => "PROXY header",
            Self::NoUpstream => "no upstream is up",
            Self::UpstreamLost => "upstream failed after data had left in the SYN",
            Self::NoSocket => "no socket for the upstream",
            Self::UpstreamReset => "upstream: connection reset",
            Self::Error => "error",
        }
    }
}

/// A reason, as shown in the access log.
#[derive(Debug)]
pub(crate) struct CloseReason {
    pub(crate) kind: CloseKind,
    /// Shown instead of the kind if the kind alone is too general.
    error: Option<io::Error>,
}

impl From<CloseKind> for CloseReason {
    fn from(kind: CloseKind) -> Self {
        Self { kind, error: None }
    }
}

impl From<io::Error> for CloseReason {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            // Without the kernel's error number.
            io::ErrorKind::ConnectionReset => CloseKind::Reset.into(),
            io::ErrorKind::BrokenPipe => CloseKind::BrokenPipe.into(),
            io::ErrorKind::TimedOut => CloseKind::TimedOut.into(),
            io::ErrorKind::InvalidData => Self { kind: CloseKind::ProxyHeader, error: Some(e) },
            _ => Self { kind: CloseKind::Error, error: Some(e) },
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => error.fmt(f),
            None => f.write_str(self.kind.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_reason_shows_known_errors_briefly_and_others_in_full() {
        for (error, kind) in [
            (io::ErrorKind::ConnectionReset, CloseKind::Reset),
            (io::ErrorKind::BrokenPipe, CloseKind::BrokenPipe),
            (io::ErrorKind::TimedOut, CloseKind::TimedOut),
        ] {
            let reason = CloseReason::from(io::Error::from(error));
            assert_eq!((reason.kind, reason.to_string()), (kind, error.to_string()));
        }
        let reason = CloseReason::from(io::Error::from_raw_os_error(113));
        assert_eq!(
            (reason.kind, reason.to_string().contains("os error 113")),
            (CloseKind::Error, true)
        );
        assert_eq!(CloseReason::from(CloseKind::IdleTimeout).to_string(), "idle-timeout");
    }
}
