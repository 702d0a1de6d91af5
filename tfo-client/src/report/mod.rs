//! All that the program prints; nothing else writes to standard output or standard error.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use tfo_core::program::{
    SettingsError, one_line,
    output::{Output, Reader},
};

use crate::config::file::File;

/// Wrong usage, or bad configuration.
const USAGE: u8 = 2;

/// Prints `error: …`, one line, to standard error.
pub(crate) fn error(error: &dyn Error) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(io::stderr(), "error: {}", one_line(error));
}

pub(crate) fn settings_error(found: &SettingsError) -> ExitCode {
    error(found);
    ExitCode::from(USAGE)
}

/// Prints the settings in force, so that they can be used as a file.
pub(crate) fn print_config(file: &File) -> ExitCode {
    let text = toml::to_string(file).map_err(io::Error::other);
    match text.and_then(|text| Output::stdout().print(text)) {
        Ok(Reader::Listening | Reader::Gone) => ExitCode::SUCCESS,
        Err(found) => {
            error(&io::Error::new(found.kind(), format!("can't print the settings: {found}")));
            ExitCode::from(USAGE)
        }
    }
}
