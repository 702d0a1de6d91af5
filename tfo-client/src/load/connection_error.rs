//! The reasons why connections get no reply.

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

/// The reason why a connection got no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConnectionError {
    /// A RST answered the SYN.
    Refused,
    /// A RST arrived later.
    Reset,
    /// The connection timed out.
    TimedOut,
    /// There is no route, or a firewall forbids it.
    Unreachable,
    /// The server closed before the reply was complete.
    ClosedEarly,
    /// The reply is not what was expected.
    WrongReply,
    /// This host has no free port for another connection to the server.
    PortsExhausted,
    /// This process can't open more files.
    TooManyFiles,
    /// Any other error reported by the kernel.
    Other,
}

impl ConnectionError {
    pub(crate) const ALL: [Self; 9] = [
        Self::Refused,
        Self::Reset,
        Self::TimedOut,
        Self::Unreachable,
        Self::ClosedEarly,
        Self::WrongReply,
        Self::PortsExhausted,
        Self::TooManyFiles,
        Self::Other,
    ];

    /// Returns the word for the error in text and JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed-out",
            Self::Unreachable => "unreachable",
            Self::ClosedEarly => "closed-early",
            Self::WrongReply => "wrong-reply",
            Self::PortsExhausted => "ports-exhausted",
            Self::TooManyFiles => "too-many-files",
            Self::Other => "other",
        }
    }

    /// Classifies the error of a system call that connects, or that uses a connection.
    pub(super) fn from_io(kind: io::ErrorKind, errno: Option<i32>) -> Self {
        /// `EMFILE` and `ENFILE`, which have no `ErrorKind`.
        const FILES: [i32; 2] = [24, 23];
        match kind {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::PermissionDenied => Self::Unreachable,
            io::ErrorKind::AddrNotAvailable => Self::PortsExhausted,
            _ if errno.is_some_and(|errno| FILES.contains(&errno)) => Self::TooManyFiles,
            _ => Self::Other,
        }
    }
}
