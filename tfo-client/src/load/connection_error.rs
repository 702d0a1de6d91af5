//! Why a connection did not get its reply.

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

/// What went wrong, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConnectionError {
    /// A RST answered the SYN.
    Refused,
    /// A RST came later.
    Reset,
    /// The time was over.
    TimedOut,
    /// There is no route, or a firewall forbids it.
    Unreachable,
    /// The server closed before the reply was complete.
    ClosedEarly,
    /// The reply is not what was expected.
    WrongReply,
    /// This host has no free port for another connection to the server.
    PortsExhausted,
    /// This process may not open another file.
    TooManyFiles,
    /// Another error of the kernel.
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

    /// The word, as it stands in text and JSON.
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

    /// Of a call on a connection, or of the one that should have made it.
    pub(super) fn of(kind: io::ErrorKind, errno: Option<i32>) -> Self {
        /// `EMFILE` and `ENFILE` have no kind.
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
