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

use supervisor::{Reload, Supervisor};

/// Serves until a signal ends it.
pub(crate) fn run(settings: Settings, reload: Reload<'_>) -> ExitCode {
    match Supervisor::start(settings) {
        Ok(supervisor) => supervisor.run(reload),
        Err(status) => status,
    }
}
