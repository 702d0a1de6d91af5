use std::{error, fmt, io, path::PathBuf};

use super::value::Expected;

/// Why the settings can't be used: one line that names the place, and what is allowed there.
#[derive(Debug)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file that was named, or found, can't be read.
    #[non_exhaustive]
    Unreadable {
        /// The file, as it was named.
        path: PathBuf,
        /// The flag or variable that named it; `None` for one of the default places.
        named_by: Option<&'static str>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file was read, and its content is refused.
    #[non_exhaustive]
    Content {
        /// The file, as it was named.
        path: PathBuf,
        /// Where the fault begins: line and column, counted from 1.
        position: (usize, usize),
        /// What is wrong, with the key, and what is allowed.
        reason: String,
    },
    /// An environment variable holds a value that is refused.
    #[non_exhaustive]
    Variable {
        /// The variable's name.
        name: &'static str,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
}

impl SettingsError {
    /// A variable's value is right by itself and does not go with the other settings. `reason` says
    /// what is wrong, and what is allowed.
    #[must_use]
    pub fn of_variable(name: &'static str, reason: impl fmt::Display) -> Self {
        Self::Variable { name, reason: reason.to_string() }
    }

    pub(super) fn variable(name: &'static str, found: &str, expected: &Expected) -> Self {
        Self::Variable { name, reason: format!("invalid value {found:?}: {expected}") }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, named_by, source } => {
                write!(f, "can't read the configuration file {}", path.display())?;
                match named_by {
                    Some(name) => write!(f, ", named by {name}: {source}"),
                    None => write!(f, ": {source}"),
                }
            }
            Self::Content { path, position: (line, column), reason } => {
                write!(f, "{}:{line}:{column}: {reason}", path.display())
            }
            Self::Variable { name, reason } => write!(f, "{name}: {reason}"),
        }
    }
}

impl error::Error for SettingsError {}

/// An error and its causes on one line, `a: b: c`, whatever bytes a file name or a peer put into it.
#[must_use]
pub fn error_chain(error: &dyn error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    super::output::escape_control(&text)
}
