//! `tfo-server check`: is this host ready for this configuration? Changes nothing.

use std::process::ExitCode;

use tfo_core::host::readiness::{ServerFacts, Wish};

use crate::config::Settings;
use crate::report;

pub(crate) fn run(settings: &Settings) -> ExitCode {
    let wish = Wish::new(settings.listen, settings.fastopen_queue, settings.backlog);
    match ServerFacts::read(wish) {
        Ok(facts) => report::readiness(settings, &facts, &facts.findings(wish)),
        Err(e) => report::failure(&e),
    }
}
