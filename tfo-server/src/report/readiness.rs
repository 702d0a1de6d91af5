//! What `tfo-server check` found.

use std::net::SocketAddr;
use std::process::ExitCode;

use serde::Serialize;
use tfo_core::cookie::Fingerprint;
use tfo_core::host::Surroundings;
use tfo_core::host::features::Support;
use tfo_core::host::readiness::{Finding, ServerFacts};
use tfo_core::program::value::Format;

use super::print_data;
use crate::config::{Settings, values::Service};
use crate::keys::{KeySource, Keys};

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    ready: bool,
    listeners: Vec<Listener>,
    workers: usize,
    tcp_fastopen: u32,
    somaxconn: u32,
    syncookies: u32,
    /// New connections can be dropped while those that have begun are served (`IP_MINTTL`).
    stop_without_loss: bool,
    keys: KeysState,
    findings: Vec<Line<'a>>,
}

/// A listener as the kernel would make it; the queues of all workers together.
#[derive(Serialize)]
struct Listener {
    listen: SocketAddr,
    service: Service,
    fastopen_queue: u32,
    backlog: u32,
}

#[derive(Serialize)]
struct KeysState {
    mode: &'static str,
    /// `None`: this process can't read it, or there is none yet.
    primary: Option<Fingerprint>,
    backup: Option<Fingerprint>,
}

#[derive(Serialize)]
struct Line<'a> {
    problem: bool,
    finding: &'a Finding,
    text: String,
}

/// Prints it; the exit status says whether the host is ready.
pub(crate) fn readiness(
    settings: &Settings,
    keys: &Keys,
    facts: &ServerFacts,
    findings: &[Finding],
) -> ExitCode {
    let problems = findings.iter().filter(|finding| finding.is_problem()).count();
    let surroundings = Surroundings::detect();
    let text = match settings.format {
        Format::Json => json(settings, keys, facts, findings, &surroundings),
        Format::Text => text(settings, keys, facts, findings, &surroundings),
    };
    print_data(&text, if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn listeners(settings: &Settings, facts: &ServerFacts) -> impl Iterator<Item = Listener> {
    let workers = settings.workers;
    let all = u32::try_from(workers).unwrap_or(u32::MAX);
    settings.listeners.iter().map(move |listen| {
        let wish = listen.wish(workers);
        Listener {
            listen: listen.address,
            service: listen.service.kind(),
            fastopen_queue: wish.queue.min(facts.somaxconn).saturating_mul(all),
            backlog: wish.backlog.min(facts.somaxconn).saturating_mul(all),
        }
    })
}

fn text(
    settings: &Settings,
    keys: &Keys,
    facts: &ServerFacts,
    findings: &[Finding],
    surroundings: &Surroundings,
) -> String {
    let mut lines: Vec<_> = listeners(settings, facts)
        .map(|Listener { listen, service, fastopen_queue, backlog }| {
            format!(
                "listen on {listen}, service {service}, fast open queue {fastopen_queue}, backlog \
                 {backlog}"
            )
        })
        .collect();
    lines.extend([
        match settings.workers {
            1 => "1 worker".to_owned(),
            many => format!("{many} workers, among which the queues are divided"),
        },
        format!("net.ipv4.tcp_fastopen {}", facts.tcp_fastopen),
        format!("net.core.somaxconn {}", facts.somaxconn),
        format!("net.ipv4.tcp_syncookies {}", facts.syncookies),
        match facts.min_ttl {
            Support::Yes => "a stop loses no connection (IP_MINTTL)".to_owned(),
            support => format!("a stop may lose connections (IP_MINTTL: {support})"),
        },
        format!("keys: {keys}"),
    ]);
    for finding in findings {
        let level = if finding.is_problem() { "problem" } else { "note" };
        lines.push(format!("{level}: {}", finding.describe(surroundings)));
    }
    lines.push(match findings.iter().filter(|finding| finding.is_problem()).count() {
        0 => "ready: clients can get fast open here".to_owned(),
        1 => "not ready: 1 problem".to_owned(),
        more => format!("not ready: {more} problems"),
    });
    lines.join("\n") + "\n"
}

fn json(
    settings: &Settings,
    keys: &Keys,
    facts: &ServerFacts,
    findings: &[Finding],
    surroundings: &Surroundings,
) -> String {
    let document = Document {
        schema: 1,
        ready: !findings.iter().any(Finding::is_problem),
        listeners: listeners(settings, facts).collect(),
        workers: settings.workers,
        tcp_fastopen: facts.tcp_fastopen.bits(),
        somaxconn: facts.somaxconn,
        syncookies: facts.syncookies,
        stop_without_loss: facts.min_ttl == Support::Yes,
        keys: KeysState {
            mode: match settings.keys {
                KeySource::Kernel => "kernel",
                KeySource::File(_) => "file",
                KeySource::Derived { .. } => "derived",
            },
            primary: keys.ring().map(|ring| ring.primary().fingerprint()),
            backup: keys.ring().and_then(|ring| Some(ring.backup()?.fingerprint())),
        },
        findings: findings
            .iter()
            .map(|finding| Line {
                problem: finding.is_problem(),
                finding,
                text: finding.describe(surroundings),
            })
            .collect(),
    };
    super::json(&document) + "\n"
}
