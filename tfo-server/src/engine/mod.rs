//! Accepts connections and moves their bytes: a worker with an event loop of its own.
//!
//! One worker serves all connections. It owns its listener and shares nothing, so that several of
//! them can stand side by side.

mod connection;
mod signals;
mod worker;

use std::process::ExitCode;

use tfo_core::host::readiness::{Finding, ServerFacts, Wish};
use tfo_core::socket::FastOpenListener;

use crate::config::Settings;
use crate::report::{self, Reporter};

use worker::Worker;

/// Serves until a signal ends it.
pub(crate) fn run(settings: &Settings) -> ExitCode {
    let listener = FastOpenListener::builder(settings.listen)
        .backlog(settings.backlog)
        .queue(settings.fastopen_queue)
        .nonblocking(true)
        .listen();
    let listener = match listener {
        Ok(listener) => listener,
        Err(e) => return report::cannot_listen(settings.listen, &e),
    };
    let worker = Worker::new(settings, listener, Reporter::new(settings.format));
    let served = worker.and_then(|mut worker| {
        // Only now: who waits for this line may connect, and may send signals.
        if let Some(listener) = worker.listener() {
            announce(settings, listener);
        }
        worker.run()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => report::failure(&e),
    }
}

/// Says at start what this listener and this host allow, and what to do if that is not enough.
fn announce(settings: &Settings, listener: &FastOpenListener) {
    let wish = Wish::new(settings.listen, settings.fastopen_queue, settings.backlog);
    let facts = match ServerFacts::read(wish) {
        Ok(facts) => facts,
        Err(e) => return log::warn!("this host's settings can't be read: {e}"),
    };
    log::info!(
        "listening on {} ({}); fast open queue {}, backlog {}; net.ipv4.tcp_fastopen {}",
        listener.local_addr(),
        settings.service,
        listener.effective_queue().unwrap_or(0),
        listener.effective_backlog().unwrap_or(0),
        facts.tcp_fastopen,
    );
    for finding in facts.findings(wish) {
        // The one who listens there is this server.
        if !matches!(finding, Finding::AddressTaken { .. }) {
            log::warn!("{finding}");
        }
    }
}
