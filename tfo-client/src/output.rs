//! Standard output, standard error and the exit status. No other module writes to them.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use tfo_core::capture::TextStyle;
use tfo_core::cli::output::{Output, Pipe, colour_allowed};
use tfo_core::cli::screen::drawing_width;
use tfo_core::cli::{SettingsError, error_chain, logging};

/// Exit status for wrong usage, an invalid configuration, or output that can't be written.
pub(crate) const USAGE: u8 = 2;
/// Exit status if no connection was established, or none got its reply.
pub(crate) const NO_CONNECTION: u8 = 3;

/// The error that a command failed with.
///
/// `Display` writes one line, `what failed: why; what to do`, including the cause.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A flag, a file or this host does not meet the command's requirements.
    Unusable(String),
    /// No connection can be made.
    NoConnection(String),
    /// An operation failed.
    Operation {
        /// What failed, such as "can't listen on 127.0.0.1:2222".
        what: String,
        source: tfo_core::Error,
        /// What to do; may be empty.
        advice: String,
    },
    /// Standard output can't be written.
    Print {
        /// The output that could not be printed, such as "the report".
        what: &'static str,
        source: io::Error,
    },
    /// A file can't be written.
    Write { path: PathBuf, source: io::Error },
    /// The settings can't be used.
    Settings(SettingsError),
}

impl Failure {
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::NoConnection(_) => NO_CONNECTION,
            Self::Unusable(_)
            | Self::Operation { .. }
            | Self::Print { .. }
            | Self::Write { .. }
            | Self::Settings(_) => USAGE,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(message) | Self::NoConnection(message) => f.write_str(message),
            Self::Operation { what, source, advice } => {
                write!(f, "{what}: {}", error_chain(source))?;
                if advice.is_empty() { Ok(()) } else { write!(f, "; {advice}") }
            }
            Self::Print { what, source } => write!(f, "can't print {what}: {source}"),
            Self::Write { path, source } => write!(f, "can't write {}: {source}", path.display()),
            Self::Settings(source) => f.write_str(&error_chain(source)),
        }
    }
}

impl Error for Failure {}

impl From<SettingsError> for Failure {
    fn from(source: SettingsError) -> Self {
        Self::Settings(source)
    }
}

/// Prints `error: …` to standard error, on one line unless that is a terminal.
pub(crate) fn error(error: &dyn Error) {
    logging::print(&format!("error: {}", error_chain(error)));
}

/// Prints a note to standard error.
pub(crate) fn note(text: &str) {
    logging::print(&format!("note: {text}"));
}

/// Prints a whole report. A closed pipe is not an error.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    print_as("the report", text)
}

/// Like [`print()`], with a name for the output in the error message.
pub(crate) fn print_as(what: &'static str, text: impl fmt::Display) -> Result<(), Failure> {
    match Output::stdout().print(text) {
        Ok(Pipe::Open | Pipe::Closed) => Ok(()),
        Err(source) => Err(Failure::Print { what, source }),
    }
}

/// Opens the files that a measurement will write, so that the measurement does not start if one can't be written.
pub(crate) fn try_files(paths: impl IntoIterator<Item: AsRef<Path>>) -> Result<(), Failure> {
    for path in paths {
        let path = path.as_ref();
        let mut options = fs::OpenOptions::new();
        // The old content stays until there is something to write.
        options.write(true).create(true).truncate(false);
        options.open(path).map_err(|e| Failure::write(path, e))?;
    }
    Ok(())
}

/// Replaces a file in one step: readers find the old text or the new one.
pub(crate) fn replace_file(path: &Path, text: &str) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Not `*.prom`, which a collector would read.
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(|e| {
        // The new file is of no use if it could not be renamed.
        let _ = fs::remove_file(&new);
        Failure::write(path, e)
    })
}

/// Prints a report piece by piece.
///
/// Stores the first failure for [`finish`](Self::finish), so that work that does not need standard output, such as
/// writing files, still completes.
pub(crate) struct Printer {
    output: Output,
    failed: Option<io::Error>,
}

impl Printer {
    pub(crate) fn stdout() -> Self {
        Self { output: Output::stdout(), failed: None }
    }

    /// Prints, and returns whether more can be printed: `false` after a failure, and once the pipe is closed.
    pub(crate) fn print(&mut self, text: impl fmt::Display) -> bool {
        if self.failed.is_some() {
            return false;
        }
        match self.output.print(text) {
            Ok(pipe) => pipe == Pipe::Open,
            Err(error) => {
                self.failed = Some(error);
                false
            }
        }
    }

    /// Returns the stored failure, if any.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match self.failed.take() {
            Some(source) => Err(Failure::Print { what: "the report", source }),
            None => Ok(()),
        }
    }
}

/// A status line on standard error, overwritten by the next one. Shown only on a terminal, and never with `NO_COLOR`.
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { shown: colour_allowed(&io::stderr()) }
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.shown
    }

    pub(crate) fn show(&self, line: &str) {
        if self.shown {
            let _ = write!(io::stderr(), "\x1b[2K{line}\r");
        }
    }

    pub(crate) fn erase(&self) {
        self.show("");
    }
}

/// Returns whether standard output may have colours.
pub(crate) fn colour() -> bool {
    colour_allowed(&io::stdout())
}

/// Returns the style of drawings on standard output.
pub(crate) fn drawing(ascii: bool) -> TextStyle {
    TextStyle::default().width(drawing_width()).colour(colour()).ascii(ascii)
}

/// Serializes a document as indented JSON with a final newline.
pub(crate) fn json(document: &impl Serialize) -> String {
    // Serializing to a string fails only for maps with keys that are not strings.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

/// Like [`json`], on one line.
pub(crate) fn json_line(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default() + "\n"
}
