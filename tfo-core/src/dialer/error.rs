//! Why a dial failed.

use std::{error, fmt, io};

use crate::error::Error;

/// A failed dial: the reason, and whether the server may have executed the message all the same.
#[derive(Debug)]
#[non_exhaustive]
pub struct DialError {
    /// The last failure.
    pub error: Error,
    /// The message must not be executed [twice](super::Message::once), and some of it was sent: find out whether it was
    /// executed before sending it again. Never set for an idempotent message, which may be sent again in any case.
    pub maybe_executed: bool,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        if self.maybe_executed {
            let ask =
                "; the message was sent and may have been executed: check before sending it again";
            f.write_str(ask)?;
        }
        Ok(())
    }
}

/// The message contains the cause.
impl error::Error for DialError {}

/// Keeps the kind. The message of an error that [may have been executed](DialError::maybe_executed) stays whole.
impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        if error.maybe_executed { Self::new(error.error.kind(), error) } else { error.error.into() }
    }
}
