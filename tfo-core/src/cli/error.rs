use std::{error, fmt, io, path::PathBuf};

/// Why the settings can't be used: one line that names the source of the setting, and what is allowed.
#[derive(Debug)]
#[non_exhaustive]
pub enum SettingsError {
    /// The configuration file can't be read.
    #[non_exhaustive]
    Unreadable {
        /// The path of the file, as it was given.
        path: PathBuf,
        /// The flag or variable that named the file; `None` for a default path.
        named_by: Option<&'static str>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The content of the configuration file is refused.
    #[non_exhaustive]
    Content {
        /// The path of the file, as it was given.
        path: PathBuf,
        /// Line and column of the fault, counted from 1.
        position: (usize, usize),
        /// What is wrong, with the key, and what is allowed.
        reason: String,
    },
    /// The value of a flag or of an environment variable is refused.
    #[non_exhaustive]
    Value {
        /// The name of the flag or variable.
        name: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// The settings can't be written as TOML.
    #[non_exhaustive]
    Unwritable {
        /// What the serializer reports.
        source: toml::ser::Error,
    },
}

impl SettingsError {
    /// Creates the error for a flag or variable. `reason` states what is wrong, and what is allowed.
    pub(super) fn value(name: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::Value { name: name.into(), reason: reason.to_string() }
    }
}

impl From<toml::ser::Error> for SettingsError {
    fn from(source: toml::ser::Error) -> Self {
        Self::Unwritable { source }
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
            Self::Value { name, reason } => write!(f, "{name}: {reason}"),
            Self::Unwritable { source } => write!(f, "can't write the settings as TOML: {source}"),
        }
    }
}

impl error::Error for SettingsError {}

/// Formats an error and its causes on one line, `a: b: c`, with control characters escaped.
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
