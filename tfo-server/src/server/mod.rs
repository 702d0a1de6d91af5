//! The running server: its main thread, its sockets, and its place on the host.

mod activation;
mod closing;
mod descriptors;
mod instruments;
mod listeners;
pub(crate) mod privileges;
mod signals;
mod supervisor;
mod systemd;

use std::process::ExitCode;

use crate::config::Settings;
use crate::output::Failure;

use supervisor::{ReadSettings, Supervisor};

/// Serves until a signal ends it.
pub(crate) fn run(settings: Settings, reload: ReadSettings<'_>) -> Result<ExitCode, Failure> {
    Supervisor::start(settings)?.run(reload)?;
    Ok(ExitCode::SUCCESS)
}
