//! The report of `tfo-server check`.

use std::net::SocketAddr;

use serde::Serialize;
use tfo_core::cli::value::Format;
use tfo_core::cookie::Fingerprint;
use tfo_core::host::features::Support;
use tfo_core::host::readiness::{Finding as HostFinding, ServerFacts};
use tfo_core::host::{FastOpenFlags, RuntimeEnvironment};

use crate::config::{Settings, values::ServiceKind};
use crate::keys::{KeySource, Keys};
use crate::output;

/// A finding that an operator should know or has to fix.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Finding {
    /// An upstream could not be reached.
    UpstreamSilent { listener: SocketAddr, upstream: SocketAddr, why: String },
    /// None of a listener's upstreams could be reached.
    NoUpstream { listener: SocketAddr },
    /// A finding about the host.
    #[serde(untagged)]
    Host(HostFinding),
}

/// The result of connecting to a listener's upstream.
#[derive(Debug, Serialize)]
pub(crate) struct CheckedUpstream {
    #[serde(skip)]
    pub(crate) listener: SocketAddr,
    pub(crate) upstream: SocketAddr,
    /// Why the connection failed.
    pub(crate) error: Option<String>,
}

impl Finding {
    /// Returns whether the finding makes the host not ready.
    pub(super) fn is_problem(&self) -> bool {
        match self {
            Self::UpstreamSilent { .. } => false,
            Self::NoUpstream { .. } => true,
            Self::Host(finding) => finding.is_problem(),
        }
    }

    fn describe(&self, environment: &RuntimeEnvironment) -> String {
        match self {
            Self::UpstreamSilent { listener, upstream, why } => {
                format!("upstream {upstream} of {listener} does not answer: {why}")
            }
            Self::NoUpstream { listener } => format!(
                "no upstream of {listener} answers: its clients would be closed at once. Fix: start one of \
                 them, or correct forward.upstreams"
            ),
            Self::Host(finding) => finding.describe(environment),
        }
    }

    /// Returns how to fix it, one step per line. The first is part of the description.
    fn fix(&self, environment: &RuntimeEnvironment) -> Vec<String> {
        match self {
            Self::Host(finding) => finding.fix(environment),
            Self::UpstreamSilent { .. } | Self::NoUpstream { .. } => Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    schema: u32,
    ready: bool,
    listeners: Vec<ListenerDocument<'a>>,
    workers: usize,
    tcp_fastopen: Option<u32>,
    somaxconn: Option<u32>,
    syncookies: Option<u32>,
    /// New connections can be dropped while existing ones are served (`IP_MINTTL`).
    stop_without_loss: bool,
    keys: KeySourceDocument,
    findings: Vec<FindingDocument<'a>>,
}

/// A listener with its effective values, summed over all workers.
#[derive(Serialize)]
struct ListenerDocument<'a> {
    listen: SocketAddr,
    service: ServiceKind,
    fastopen_queue: u32,
    backlog: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<&'a CheckedUpstream>,
}

#[derive(Serialize)]
struct KeySourceDocument {
    mode: &'static str,
    /// `None`: the keys cannot be read, or do not exist yet.
    primary: Option<Fingerprint>,
    backup: Option<Fingerprint>,
}

#[derive(Serialize)]
struct FindingDocument<'a> {
    problem: bool,
    finding: &'a Finding,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fix: Vec<String>,
}

/// Formats the report in the configured format.
pub(super) fn text(
    settings: &Settings,
    keys: &Keys,
    facts: &ServerFacts,
    upstreams: &[CheckedUpstream],
    findings: &[Finding],
) -> String {
    let environment = RuntimeEnvironment::detect();
    let listeners = listeners(settings, facts, upstreams);
    match settings.output.format {
        Format::Json => json(settings, keys, facts, listeners.collect(), findings, &environment),
        Format::Text => lines(settings, keys, facts, listeners, findings, &environment),
    }
}

fn listeners<'a>(
    settings: &'a Settings,
    facts: &ServerFacts,
    upstreams: &'a [CheckedUpstream],
) -> impl Iterator<Item = ListenerDocument<'a>> {
    let workers = settings.workers;
    let all = u32::try_from(workers).unwrap_or(u32::MAX);
    let most = facts.somaxconn.unwrap_or(u32::MAX);
    settings.listeners.iter().map(move |listen| {
        let (queue, backlog) = listen.queue_and_backlog(workers);
        ListenerDocument {
            listen: listen.address,
            service: listen.table.service,
            fastopen_queue: queue.min(most).saturating_mul(all),
            backlog: backlog.min(most).saturating_mul(all),
            upstreams: upstreams
                .iter()
                .filter(|checked| checked.listener == listen.address)
                .collect(),
        }
    })
}

fn lines<'a>(
    settings: &Settings,
    keys: &Keys,
    facts: &ServerFacts,
    listeners: impl Iterator<Item = ListenerDocument<'a>>,
    findings: &[Finding],
    environment: &RuntimeEnvironment,
) -> String {
    let mut lines = Vec::new();
    for ListenerDocument { listen, service, fastopen_queue, backlog, upstreams } in listeners {
        lines.push(format!(
            "listen on {listen}, service {service}, fast open queue {fastopen_queue}, backlog {backlog}"
        ));
        let answering = upstreams.iter().filter(|checked| checked.error.is_none());
        lines.extend(
            answering.map(|checked| format!("upstream {} of {listen} answers", checked.upstream)),
        );
    }
    lines.extend([
        match settings.workers {
            1 => "1 worker".to_owned(),
            many => format!("{many} workers, which share the queues"),
        },
        output::setting("net.ipv4.tcp_fastopen", facts.tcp_fastopen),
        output::setting("net.core.somaxconn", facts.somaxconn),
        output::setting("net.ipv4.tcp_syncookies", facts.syncookies),
        match facts.min_ttl {
            Support::Yes => "stopping loses no connection (IP_MINTTL)".to_owned(),
            support => format!("stopping may lose connections (IP_MINTTL: {support})"),
        },
        format!("keys: {keys}"),
    ]);
    for finding in findings {
        let level = if finding.is_problem() { "problem" } else { "note" };
        lines.push(format!("{level}: {}", finding.describe(environment)));
        let further = finding.fix(environment).into_iter().skip(1);
        lines.extend(further.map(|step| format!("  {step}")));
    }
    lines.push(match findings.iter().filter(|finding| finding.is_problem()).count() {
        0 => "ready: clients can use fast open".to_owned(),
        1 => "not ready: 1 problem".to_owned(),
        more => format!("not ready: {more} problems"),
    });
    lines.join("\n") + "\n"
}

fn json(
    settings: &Settings,
    keys: &Keys,
    facts: &ServerFacts,
    listeners: Vec<ListenerDocument<'_>>,
    findings: &[Finding],
    environment: &RuntimeEnvironment,
) -> String {
    let document = CheckDocument {
        schema: 1,
        ready: !findings.iter().any(Finding::is_problem),
        listeners,
        workers: settings.workers,
        tcp_fastopen: facts.tcp_fastopen.map(FastOpenFlags::bits),
        somaxconn: facts.somaxconn,
        syncookies: facts.syncookies,
        stop_without_loss: facts.min_ttl == Support::Yes,
        keys: KeySourceDocument {
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
            .map(|finding| FindingDocument {
                problem: finding.is_problem(),
                finding,
                text: finding.describe(environment),
                fix: finding.fix(environment),
            })
            .collect(),
    };
    output::json(&document) + "\n"
}
