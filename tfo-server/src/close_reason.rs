//! Why a connection was closed before it was done.

use std::fmt;
use std::io;

/// A reason without its error: one byte, as connections keep it and metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseKind {
    HandshakeTimeout,
    HeaderTimeout,
    IdleTimeout,
    /// All was sent, and the peer did not close its half in time.
    LingerTimeout,
    /// A request came after the connection was closed, idle, by a server that stops.
    RequestTooLate,
    DrainTimeout,
    SecondSignal,
    WorkerFailed,
    /// Its source address had as many connections as it may have.
    PerSource,
    /// The peer has reset it, or its host has.
    Reset,
    /// The same, seen when sending.
    BrokenPipe,
    /// The peer's host did not acknowledge what was sent.
    TimedOut,
    /// No PROXY protocol header came first.
    ProxyHeader,
    /// No upstream could be connected to.
    NoUpstream,
    /// One could not, and another must not be tried: it may have got the client's first bytes.
    UpstreamLost,
    /// This host had no socket for it.
    NoSocket,
    /// The upstream, or its host, has reset its connection.
    UpstreamReset,
    /// Another error of the socket.
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

/// A reason, as the access log shows it.
#[derive(Debug)]
pub(crate) struct CloseReason {
    pub(crate) kind: CloseKind,
    /// Shown in place of the kind, where that says too little.
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
            // Without the number that the kernel has for it.
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
    fn the_words_are_those_of_the_standard_library_and_others_are_told_in_full() {
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
