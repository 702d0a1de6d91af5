//! `tfo-server check`: is this host ready for this configuration? Changes nothing.

use std::process::ExitCode;
use std::time::SystemTime;

use tfo_core::host::readiness::ServerFacts;

use crate::config::Settings;
use crate::keys::Keys;
use crate::report;

pub(crate) fn run(settings: &Settings) -> ExitCode {
    let wish = settings.listeners[0].wish(settings.workers);
    let keys = match Keys::load(&settings.keys, SystemTime::now()) {
        Ok(keys) => keys,
        Err(e) => return report::settings_error(&e),
    };
    match ServerFacts::read(wish) {
        Ok(facts) => report::readiness(settings, &keys, &facts, &facts.findings(wish)),
        Err(e) => report::failure(&e),
    }
}
