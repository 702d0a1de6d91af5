//! `tfo-server check`: checks this host and the configuration, without changing anything. Connects to each upstream
//! once.

mod report;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tfo_core::host::readiness::{Finding as HostFinding, ServerFacts};
use tfo_core::host::{NamespaceKey, sysctl};

use crate::config::Settings;
use crate::config::file::Forward;
use crate::keys::command::has_fast_open_listener;
use crate::keys::{KeySource, Keys};
use crate::output::{self, Failure};
use crate::server::privileges::RunAs;
use crate::service::Service;
use crate::service::forward::{self, CheckResult};

use report::{CheckedUpstream, Finding};

/// Maximum time to wait for upstreams.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    let keys = Keys::load(&settings.keys, SystemTime::now())?;
    RunAs::look_up(settings.process.user.get(), settings.process.group.get())
        .map_err(|e| Failure::settings(&e))?;
    for listen in &settings.listeners {
        Service::new(listen)?;
    }
    let mut findings: Vec<Finding> = Vec::new();
    let mut host = None;
    for listen in &settings.listeners {
        let (queue, backlog) = listen.queue_and_backlog(settings.workers);
        let facts = ServerFacts::read(listen.address)?;
        // Findings about the host are the same for each listener, and reported once.
        let found = facts.findings(listen.address, queue, backlog);
        for finding in found.into_iter().map(Finding::Host) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        host.get_or_insert(facts);
    }
    if settings.keys == KeySource::Kernel
        && sysctl::fastopen_key().is_ok_and(|key| key == NamespaceKey::Zeros)
        && has_fast_open_listener()
    {
        findings.push(Finding::Host(HostFinding::KeyIsZeros));
    }
    let upstreams = check_upstreams(settings)?;
    for listen in &settings.listeners {
        let own = upstreams.iter().filter(|checked| checked.listener == listen.address);
        findings.extend(upstream_findings(listen.address, own));
    }
    let Some(facts) = host else { return Ok(ExitCode::SUCCESS) };
    output::print(&report::text(settings, &keys, &facts, &upstreams, &findings))?;
    let is_ready = !findings.iter().any(Finding::is_problem);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Connects to each upstream once, even if several listeners share it.
fn check_upstreams(settings: &Settings) -> io::Result<Vec<CheckedUpstream>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut timeout = Duration::ZERO;
    for (_, forward) in forwarding(settings) {
        addresses.extend(forward.upstreams.get());
        timeout = timeout.max(forward.connect_timeout.get().min(UPSTREAM_TIMEOUT));
    }
    addresses.sort_unstable();
    addresses.dedup();
    let error = |answer| match answer {
        CheckResult::Connected => None,
        CheckResult::Failed(why) | CheckResult::NotChecked(why) => Some(why),
    };
    let errors = forward::check_once(&addresses, timeout)?.into_iter().map(error);
    let errors: HashMap<_, _> = addresses.iter().copied().zip(errors).collect();
    let mut checked = Vec::new();
    for (listener, forward) in forwarding(settings) {
        for &upstream in forward.upstreams.get() {
            let error = errors.get(&upstream).cloned().flatten();
            checked.push(CheckedUpstream { listener, upstream, error });
        }
    }
    Ok(checked)
}

/// Returns the listeners that forward, with their settings.
fn forwarding(settings: &Settings) -> impl Iterator<Item = (SocketAddr, &Forward)> {
    settings.listeners.iter().filter_map(|listen| Some((listen.address, listen.forward()?)))
}

/// Reports an unreachable upstream as a note, since others serve its clients, and a listener without reachable
/// upstreams as a problem.
fn upstream_findings<'a>(
    listener: SocketAddr,
    checked: impl Iterator<Item = &'a CheckedUpstream> + Clone,
) -> Vec<Finding> {
    let silent = checked.clone().filter_map(|checked| {
        let (upstream, why) = (checked.upstream, checked.error.clone()?);
        Some(Finding::UpstreamSilent { listener, upstream, why })
    });
    let mut findings: Vec<_> = silent.collect();
    if !findings.is_empty() && findings.len() == checked.count() {
        findings.push(Finding::NoUpstream { listener });
    }
    findings
}
