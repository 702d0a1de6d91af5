//! The running server: its main thread, its sockets and its process state.
//!
//! | file | content |
//! | --- | --- |
//! | `supervisor` | the main thread: starts workers, handles signals, stops; `reload` applies new settings |
//! | `listeners`, `closing` | binds a socket for each worker; closes sockets without losing connections |
//! | `activation` | sockets inherited by socket activation |
//! | `privileges`, `descriptors` | drops privileges; raises the limit of open descriptors |
//! | `systemd` | notifications and the watchdog |
//! | `signals` | delivers signals to the event loop |
//! | `instruments` | makes the state of the server available to metrics |

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

/// Serves until a signal stops the server.
pub(crate) fn run(settings: Settings, reload: ReadSettings<'_>) -> Result<ExitCode, Failure> {
    Supervisor::start(settings)?.run(reload)?;
    Ok(ExitCode::SUCCESS)
}
