//! The error type: which operation failed, on what, and why.

use std::{error, fmt, io};

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, by its origin.
///
/// A connection that did not use fast open is never an error: it is a
/// [`Verdict`](crate::diagnosis::Verdict).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an operation. The message names the operation, its object and the kernel's answer.
    #[non_exhaustive]
    System {
        /// The operation, such as `bind`.
        operation: &'static str,
        /// The object of the operation, such as `127.0.0.1:2222`; may be empty.
        object: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// Input from the kernel, the network or the user is malformed.
    #[non_exhaustive]
    Malformed {
        /// The input, such as `TCP_INFO` or `/proc/net/netstat`.
        what: &'static str,
        /// What is wrong with the input, and what is allowed.
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

    /// Returns the errno, if the kernel returned one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::Malformed { .. } => None,
        }
    }

    /// Returns the class of the error as [`io::ErrorKind`].
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
            Self::System { operation, object, source } if object.is_empty() => {
                write!(f, "{operation} failed: {source}")
            }
            Self::System { operation, object, source } => {
                write!(f, "{operation} {object} failed: {source}")
            }
            Self::Malformed { what, reason } => write!(f, "{what}: {reason}"),
        }
    }
}

/// The message contains the cause, so there is no [`source`](error::Error::source).
impl error::Error for Error {}

/// Keeps the errno, so that [`raw_os_error`](io::Error::raw_os_error) and the kind stay. The message is then the
/// kernel's error alone.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::System { source, .. } if source.raw_os_error().is_some() => source,
            other => Self::new(other.kind(), other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_contains_the_cause() {
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let error = Error::system("connect", "192.0.2.2:2222", refused());
        let text = error.to_string();
        assert_eq!(text, format!("connect 192.0.2.2:2222 failed: {}", refused()));
        assert!(error::Error::source(&error).is_none(), "or it would be printed twice");
        assert!(Error::system("accept", "", refused()).to_string().starts_with("accept failed: "));
    }

    #[test]
    fn an_io_error_keeps_the_errno() {
        let errno = |errno| Error::system("bind", "", io::Error::from_raw_os_error(errno));
        let error = io::Error::from(errno(libc::EADDRINUSE));
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let error = io::Error::from(Error::malformed("TCP_INFO", "too short"));
        assert_eq!((error.raw_os_error(), error.kind()), (None, io::ErrorKind::InvalidData));
        assert_eq!(error.to_string(), "TCP_INFO: too short");
    }
}
