//! Why a connection ended before it was done.

use std::fmt;
use std::io;

/// The reason, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
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

impl Cut {
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

/// The reason, as it is told.
#[derive(Debug)]
pub(crate) struct Why {
    pub(crate) cut: Cut,
    /// Where the reason alone says too little.
    detail: Option<io::Error>,
}

impl From<Cut> for Why {
    fn from(cut: Cut) -> Self {
        Self { cut, detail: None }
    }
}

impl From<io::Error> for Why {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            // Without the number that the kernel has for it.
            io::ErrorKind::ConnectionReset => Cut::Reset.into(),
            io::ErrorKind::BrokenPipe => Cut::BrokenPipe.into(),
            io::ErrorKind::TimedOut => Cut::TimedOut.into(),
            io::ErrorKind::InvalidData => Self { cut: Cut::ProxyHeader, detail: Some(e) },
            _ => Self { cut: Cut::Error, detail: Some(e) },
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => detail.fmt(f),
            None => f.write_str(self.cut.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_standard_library_and_others_are_told_in_full() {
        for (kind, cut) in [
            (io::ErrorKind::ConnectionReset, Cut::Reset),
            (io::ErrorKind::BrokenPipe, Cut::BrokenPipe),
            (io::ErrorKind::TimedOut, Cut::TimedOut),
        ] {
            let why = Why::from(io::Error::from(kind));
            assert_eq!((why.cut, why.to_string()), (cut, kind.to_string()));
        }
        let why = Why::from(io::Error::from_raw_os_error(113));
        assert_eq!((why.cut, why.to_string().contains("os error 113")), (Cut::Error, true));
        assert_eq!(Why::from(Cut::IdleTimeout).to_string(), "idle-timeout");
    }
}
