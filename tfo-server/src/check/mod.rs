//! `tfo-server check`: checks this host and the configuration, without changing anything. Upstreams are
//! connected to once.

mod report;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tfo_core::host::readiness::{Finding as HostFinding, ServerFacts};
use tfo_core::host::{NamespaceKey, sysctl};

use crate::config::{ForwardSettings, ServiceSettings, Settings};
use crate::keys::command::has_fast_open_listener;
use crate::keys::{KeySource, Keys};
use crate::output::{self, Failure};
use crate::server::privileges::RunAs;
use crate::service::Service;
use crate::service::forward::{self, CheckResult};

use report::{CheckedUpstream, Finding};

/// The longest wait for upstreams.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    let keys = Keys::load(&settings.keys, SystemTime::now())?;
    RunAs::look_up(settings.user.as_deref(), settings.group.as_deref())
        .map_err(|e| Failure::settings(&e))?;
    for listen in &settings.listeners {
        Service::new(&listen.service)?;
    }
    let mut findings: Vec<Finding> = Vec::new();
    let mut host = None;
    for listen in &settings.listeners {
        let wish = listen.wish(settings.workers);
        let facts = ServerFacts::read(wish)?;
        // What is true of the host is true for each listener, and told once.
        for finding in facts.findings(wish).into_iter().map(Finding::Host) {
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
        let its = upstreams.iter().filter(|checked| checked.listener == listen.address);
        findings.extend(upstream_findings(listen.address, its));
    }
    let Some(facts) = host else { return Ok(ExitCode::SUCCESS) };
    output::print(&report::text(settings, &keys, &facts, &upstreams, &findings))?;
    let is_ready = !findings.iter().any(Finding::is_problem);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Connects to each upstream once, although several listeners may have it.
fn check_upstreams(settings: &Settings) -> io::Result<Vec<CheckedUpstream>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut timeout = Duration::ZERO;
    for (_, forward) in forwarding(settings) {
        addresses.extend(&forward.upstreams);
        timeout = timeout.max(forward.connect_timeout.min(UPSTREAM_TIMEOUT));
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
        for &upstream in &forward.upstreams {
            let error = errors.get(&upstream).cloned().flatten();
            checked.push(CheckedUpstream { listener, upstream, error });
        }
    }
    Ok(checked)
}

/// The listeners that forward, and where to.
fn forwarding(settings: &Settings) -> impl Iterator<Item = (SocketAddr, &ForwardSettings)> {
    settings.listeners.iter().filter_map(|listen| match &listen.service {
        ServiceSettings::Forward(forward) => Some((listen.address, forward)),
        _ => None,
    })
}

/// A silent upstream is a note, since another one serves its clients. A listener without any is a problem.
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
