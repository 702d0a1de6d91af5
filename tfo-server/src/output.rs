//! Standard output, and failures of the program. `main` prints failures and the logger logs; everything else is printed
//! through this module or the access log.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tfo_core::cli::output::{Output, Pipe, escape_control};
use tfo_core::cli::{SettingsError, error_chain};

/// Exit status of wrong usage and of invalid configuration.
const USAGE: u8 = 2;
/// Exit status of all other failures.
const FAILED: u8 = 1;

/// A failure of the program, on one line: what failed, the cause, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// Creates a failure with exit status 1, caused by the host, the network or another program.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { message: escape_control(&message.to_string()), status: FAILED }
    }

    /// Creates a failure with exit status 2, caused by wrong usage, or by an invalid configuration or a file that it
    /// names.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { status: USAGE, ..Self::new(message) }
    }

    /// As [`usage`](Self::usage), with the causes of `error`.
    pub(crate) fn settings(error: &dyn Error) -> Self {
        Self::usage(error_chain(error))
    }

    /// Creates a failure `what: …` with the causes of `error`.
    pub(crate) fn because(what: impl fmt::Display, error: &dyn Error) -> Self {
        Self::new(format_args!("{what}: {}", error_chain(error)))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::settings(&error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error_chain(&error))
    }
}

impl From<tfo_core::Error> for Failure {
    fn from(error: tfo_core::Error) -> Self {
        Self::new(error_chain(&error))
    }
}

/// Prints data to standard output. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match Output::stdout().print(text) {
        Ok(Pipe::Open | Pipe::Closed) => Ok(()),
        Err(error) => Err(cannot_print(&error)),
    }
}

/// Creates the failure for an error of standard output.
pub(crate) fn cannot_print(error: &io::Error) -> Failure {
    Failure::because("can't print", error)
}

/// Formats a document as one line of JSON without control characters.
pub(crate) fn json(value: &impl Serialize) -> String {
    // Serialization fails only for keys that are not text, which no document has.
    let text = serde_json::to_string(value).unwrap_or_default();
    // Serde escapes characters below U+0020. DEL and those from U+0080 on may also control a terminal.
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().fold(String::new(), |mut escaped, c| {
        if c.is_control() {
            escaped += &format!("\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
        escaped
    })
}

/// Formats a setting of the kernel, which may lack it.
pub(crate) fn setting(name: &str, value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| format!("no {name}"), |value| format!("{name} {value}"))
}

/// Returns a time in microseconds, the unit of documents.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
