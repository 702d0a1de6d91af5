//! Accepts connections and moves their bytes.
//!
//! | file | what |
//! | --- | --- |
//! | `supervisor` | the main thread: starts the workers, and tells them of signals, keys and new settings (`reload`) |
//! | `listeners` | binds: one socket for each worker |
//! | `worker` | a thread with an event loop and listeners of its own; it shares nothing but counters |
//! | `plan` | what a worker needs to know of a listener |
//! | `connection`, `pending` | the bytes between a socket and a session; those that did not leave at once |
//! | `leg` | a socket: how it sends, ends and is reset |
//! | `lent` | what a worker lends to a connection: buffers that are empty, a share of the turn |
//! | `relay` | the bytes between a client and an upstream |
//! | `budget` | how many descriptors connections may use |
//! | `forensics`, `sources` | whose cookie was it, how many connections has an address |
//! | `stats`, `why` | what connections came to, counted; why some ended early |
//! | `metrics` | what the server measures of itself |
//! | `inbox`, `signals` | what wakes a thread that polls |

mod budget;
mod connection;
mod forensics;
mod inbox;
mod leg;
mod lent;
mod listeners;
mod metrics;
mod pending;
mod plan;
mod relay;
mod signals;
mod sources;
pub(crate) mod stats;
mod supervisor;
mod why;
mod worker;

use std::process::ExitCode;

use tfo_core::program::SettingsError;

use crate::config::Settings;

use supervisor::Supervisor;

/// Reads the settings again.
pub(crate) type Reload<'a> = &'a dyn Fn() -> Result<Settings, SettingsError>;

/// Serves until a signal ends it.
pub(crate) fn run(settings: Settings, reload: Reload<'_>) -> ExitCode {
    match Supervisor::start(settings) {
        Ok(supervisor) => supervisor.run(reload),
        Err(status) => status,
    }
}
