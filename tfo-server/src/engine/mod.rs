use std::process::ExitCode;

use crate::config::Settings;

/// Serves until it is told to stop.
pub(crate) fn run(settings: &Settings) -> ExitCode {
    log::debug!("{settings:?}");
    ExitCode::SUCCESS
}

/// Says whether this host is ready, and changes nothing.
pub(crate) fn check(settings: &Settings) -> ExitCode {
    log::debug!("{settings:?}");
    ExitCode::SUCCESS
}
