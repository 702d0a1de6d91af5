//! The running server: its main thread, its sockets, and its place on the host.
//!
//! | file | what |
//! | --- | --- |
//! | `supervisor` | the main thread: starts workers, handles signals, stops; `reload` changes settings |
//! | `listeners`, `closing` | binds a socket for each worker; closes them without losing a connection |
//! | `activation` | sockets that listened before the server started |
//! | `privileges`, `descriptors` | what the process may do, and how many descriptors it may open |
//! | `systemd` | notifications and the watchdog |
//! | `signals` | signals as something to poll |
//! | `instruments` | the running server, as its metrics see it |

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
