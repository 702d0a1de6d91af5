//! Accepts connections and moves their bytes: a worker with an event loop of its own.
//!
//! One worker serves all connections. It owns its listener and shares nothing, so that several of
//! them can stand side by side.

mod connection;
mod forensics;
mod signals;
mod stats;
mod worker;

use std::io;
use std::process::ExitCode;
use std::time::SystemTime;

use tfo_core::host::readiness::{Finding, ServerFacts};
use tfo_core::program::output::colour_allowed;
use tfo_core::program::value::Format;
use tfo_core::socket::FastOpenListener;

use crate::config::Settings;
use crate::keys::Keys;
use crate::report::{self, Reporter, Tracer};

use worker::Worker;

/// Serves until a signal ends it.
pub(crate) fn run(settings: &Settings) -> ExitCode {
    let mut keys = match Keys::load(&settings.keys, SystemTime::now()) {
        Ok(keys) => keys,
        Err(e) => return report::settings_error(&e),
    };
    let builder = FastOpenListener::builder(settings.listeners[0].address)
        .backlog(settings.listeners[0].backlog)
        .queue(settings.listeners[0].fastopen_queue)
        .nonblocking(true);
    let listener = match keys.configure(builder).listen() {
        Ok(listener) => listener,
        Err(e) => return report::cannot_listen(settings.listeners[0].address, &e),
    };
    let tracer = match tracer(settings, &listener) {
        Ok(tracer) => tracer,
        Err(status) => return status,
    };
    // A namespace without keys has made one with its first listener.
    keys.look(SystemTime::now(), false, &listener);
    let worker = Worker::new(settings, keys, listener, Reporter::new(settings.format, tracer));
    let served = worker.and_then(|mut worker| {
        // Only now: who waits for this line may connect, and may send signals.
        if let Some(listener) = worker.listener() {
            announce(settings, worker.keys(), listener);
        }
        worker.run()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => report::failure(&e),
    }
}

/// Sees the packets of this listener's connections, if that is wanted.
fn tracer(settings: &Settings, listener: &FastOpenListener) -> Result<Option<Tracer>, ExitCode> {
    if !settings.trace && settings.pcap.is_none() {
        return Ok(None);
    }
    let draw = settings.trace && settings.format == Format::Text;
    let colour = colour_allowed(&io::stdout());
    let mut tracer =
        Tracer::start(listener.local_addr(), draw, colour).map_err(|e| report::cannot_trace(&e))?;
    if let Some(file) = &settings.pcap {
        tracer.write_to(file).map_err(|e| {
            let message = format!("can't write {}: {e}", file.display());
            report::failure(&io::Error::new(e.kind(), message))
        })?;
    }
    Ok(Some(tracer))
}

/// Says at start what this listener and this host allow, and what to do if that is not enough.
fn announce(settings: &Settings, keys: &Keys, listener: &FastOpenListener) {
    let wish = settings.listeners[0].wish();
    let facts = match ServerFacts::read(wish) {
        Ok(facts) => facts,
        Err(e) => return log::warn!("this host's settings can't be read: {e}"),
    };
    log::info!(
        "listening on {} ({}); fast open queue {}, backlog {}; net.ipv4.tcp_fastopen {}",
        listener.local_addr(),
        settings.listeners[0].service.kind(),
        listener.effective_queue().unwrap_or(0),
        listener.effective_backlog().unwrap_or(0),
        facts.tcp_fastopen,
    );
    log::info!("keys: {keys}");
    for finding in facts.findings(wish) {
        // The one who listens there is this server.
        if !matches!(finding, Finding::AddressTaken { .. }) {
            log::warn!("{finding}");
        }
    }
}
