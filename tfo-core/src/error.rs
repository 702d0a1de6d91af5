//! The one error type: which operation failed, on what; the cause is in `source()`.

use std::{error, fmt, io};

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, sorted by who is at fault.
///
/// A connection that did not use fast open is never an error: it is a
/// [`Verdict`](crate::diagnosis::Verdict).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an operation. The message names the operation and its object, the
    /// [`source`](error::Error::source) holds the errno.
    #[non_exhaustive]
    System {
        /// What was tried, such as `bind`.
        operation: &'static str,
        /// What it was tried on, such as `127.0.0.1:2222`; may be empty.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Bytes or text of the kernel, of the network or of a user do not have the form they must have.
    #[non_exhaustive]
    Malformed {
        /// What was read, such as `TCP_INFO` or `/proc/net/netstat`.
        what: &'static str,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
}

impl Error {
    pub(crate) fn system(
        operation: &'static str,
        object: impl fmt::Display,
        source: io::Error,
    ) -> Self {
        Self::System { operation, object: object.to_string(), source }
    }

    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }

    /// The errno, where the kernel gave one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::Malformed { .. } => None,
        }
    }

    /// The class of the error in the terms of [`io::ErrorKind`].
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::System { source, .. } => source.kind(),
            Self::Malformed { .. } => io::ErrorKind::InvalidData,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { operation, object, .. } if object.is_empty() => {
                write!(f, "{operation} failed")
            }
            Self::System { operation, object, .. } => write!(f, "{operation} {object} failed"),
            Self::Malformed { what, reason } => write!(f, "{what}: {reason}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            Self::Malformed { .. } => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}
