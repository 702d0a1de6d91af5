//! `tfo-server check`: is this host ready for this configuration? Changes nothing.

use std::process::ExitCode;
use std::time::SystemTime;

use tfo_core::host::readiness::{Finding, ServerFacts};

use crate::config::Settings;
use crate::keys::Keys;
use crate::process::privileges::Rights;
use crate::report;
use crate::service::Prepared;

pub(crate) fn run(settings: &Settings) -> ExitCode {
    let keys = match Keys::load(&settings.keys, SystemTime::now()) {
        Ok(keys) => keys,
        Err(e) => return report::settings_error(&e),
    };
    if let Err(e) = Rights::find(settings.user.as_deref(), settings.group.as_deref()) {
        return report::settings_error(&e);
    }
    let services = settings.listeners.iter().map(|listen| Prepared::new(&listen.service));
    if let Err(e) = services.collect::<Result<Vec<_>, _>>() {
        return report::settings_error(&e);
    }
    let mut findings: Vec<Finding> = Vec::new();
    let mut host = None;
    for listen in &settings.listeners {
        let wish = listen.wish(settings.workers);
        let facts = match ServerFacts::read(wish) {
            Ok(facts) => facts,
            Err(e) => return report::failure(&e),
        };
        // What is true of the host is true for each listener, and told once.
        for finding in facts.findings(wish) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        host.get_or_insert(facts);
    }
    match host {
        Some(facts) => report::readiness(settings, &keys, &facts, &findings),
        None => ExitCode::SUCCESS,
    }
}
