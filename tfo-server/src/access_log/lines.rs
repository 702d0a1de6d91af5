//! One line for each connection that has ended, and the totals at the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::{
    ArrivedOption, ArrivedSyn, Cause, Outcome, SavedSynEvidence, ServerEvidence, Verdict,
};
use tfo_core::program::{output::Output, value::Format};

use super::trace::Tracer;
use crate::arrival::{self, ArrivalVerdict};
use crate::config::values::ServiceKind;
use crate::metrics::stats::{self, CookieOrigin, Count};
use crate::output::json;

/// A connection that has ended.
pub(crate) struct ConnectionEntry {
    pub(crate) peer: SocketAddr,
    /// The client behind it, where a proxy has told it.
    pub(crate) client: Option<SocketAddr>,
    /// Whom it was handed to.
    pub(crate) upstream: Option<SocketAddr>,
    /// `None`: nobody looked.
    pub(crate) evidence: Option<ServerEvidence>,
    /// What it was counted as.
    pub(crate) counted_as: ArrivalVerdict,
    /// Which key made the cookie of its SYN, where keys are known.
    pub(crate) cookie_origin: Option<Origin>,
    pub(crate) service: ServiceKind,
    pub(crate) duration: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Why the server ended it before it was done.
    pub(crate) cut_short: Option<String>,
}

/// What all connections came to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Totals {
    connections: u64,
    syn_bytes: u64,
    bytes_in: u64,
    bytes_out: u64,
    cookies: Cookies,
    verdicts: BTreeMap<Outcome, u64>,
    causes: BTreeMap<Cause, u64>,
    /// Connections without a verdict: `engine.evidence` is "counters".
    #[serde(skip_serializing_if = "is_zero")]
    not_looked_at: u64,
    /// Connections whose SYN was not seen.
    #[serde(skip_serializing_if = "is_zero")]
    unknown: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How many cookies came of which key, where keys are known.
#[derive(Debug, Default, Serialize)]
struct Cookies {
    primary: u64,
    backup: u64,
    next: u64,
    previous: u64,
    other_source: u64,
    unknown: u64,
}

#[derive(Serialize)]
struct ConnectionLine<'a> {
    schema: u32,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<SocketAddr>,
    #[serde(flatten)]
    verdict: Option<VerdictField<'a>>,
    syn_bytes: usize,
    cookie: Cookie,
    cookie_origin: Option<Origin>,
    duration_us: u64,
    service: ServiceKind,
    bytes_in: u64,
    bytes_out: u64,
    cut_short: Option<&'a str>,
    evidence: Option<&'a ServerEvidence>,
}

#[derive(Serialize)]
struct TotalsLine<'a> {
    schema: u32,
    duration_us: u64,
    /// Lines that could not be printed as fast as they came.
    #[serde(skip_serializing_if = "is_zero")]
    lines_lost: u64,
    totals: &'a Totals,
}

/// The verdict, or that there is none.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum VerdictField<'a> {
    Verdict(&'a Verdict),
    Unknown { verdict: &'static str },
}

/// What the SYN carried of fast open.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Cookie {
    /// No SYN was saved.
    Unknown,
    /// No fast open option.
    None,
    /// A cookie was asked for.
    Request,
    /// A cookie came along, of so many bytes.
    Bytes(usize),
}

impl Cookie {
    fn text(self) -> String {
        match self {
            Self::Unknown => "SYN not seen".to_owned(),
            Self::None => "no cookie".to_owned(),
            Self::Request => "cookie request".to_owned(),
            Self::Bytes(len) => format!("cookie {len} B"),
        }
    }
}

/// Where lines go.
pub(super) struct LineWriter {
    output: Output,
    format: Format,
    started: Instant,
    tracer: Option<Tracer>,
    /// Lines in a row that could not be written.
    unprinted: u64,
    /// All lines that could not be written.
    failed: Arc<AtomicU64>,
}

impl LineWriter {
    pub(super) fn new(format: Format, tracer: Option<Tracer>, failed: Arc<AtomicU64>) -> Self {
        let (output, started) = (Output::stdout(), Instant::now());
        Self { output, format, started, tracer, unprinted: 0, failed }
    }

    /// Draws the packets of connections that ended a moment ago; with `all`, of each.
    pub(super) fn draw(&mut self, all: bool) {
        if let Some(tracer) = self.tracer.as_ref().filter(|_| all) {
            thread::sleep(tracer.grace());
        }
        let ladders = self.tracer.as_mut().map(|tracer| tracer.ladders(all));
        for ladder in ladders.into_iter().flatten() {
            self.print(&ladder);
        }
    }

    pub(super) fn connection(&mut self, ended: &ConnectionEntry) {
        let evidence = ended.evidence.as_ref();
        let verdict = evidence.and_then(|evidence| arrival::judge(evidence, ended.counted_as));
        self.connection_with(ended, verdict.as_ref());
    }

    fn connection_with(&mut self, ended: &ConnectionEntry, verdict: Option<&Verdict>) {
        let (syn_bytes, cookie) = match &ended.evidence {
            Some(evidence) => of_syn(&evidence.syn),
            None => (0, Cookie::Unknown),
        };
        let line = match self.format {
            Format::Json => json(&ConnectionLine {
                schema: 1,
                peer: ended.peer().to_string(),
                client: ended.client,
                upstream: ended.upstream,
                verdict: match (verdict, ended.counted_as) {
                    (Some(verdict), _) => Some(VerdictField::Verdict(verdict)),
                    (None, ArrivalVerdict::Unknown) => {
                        Some(VerdictField::Unknown { verdict: "unknown" })
                    }
                    (None, _) => None,
                },
                syn_bytes,
                cookie,
                cookie_origin: ended.cookie_origin,
                duration_us: micros(ended.duration),
                service: ended.service,
                bytes_in: ended.bytes_in,
                bytes_out: ended.bytes_out,
                cut_short: ended.cut_short.as_deref(),
                evidence: ended.evidence.as_ref(),
            }),
            Format::Text => text(ended, verdict, syn_bytes, cookie),
        };
        self.print(&line);
        if let Some((tracer, evidence)) = self.tracer.as_mut().zip(ended.evidence.as_ref()) {
            tracer.ended(evidence.source, evidence.destination);
        }
    }

    pub(super) fn totals(&mut self, totals: &Totals, lines_lost: u64) {
        let duration_us = micros(self.started.elapsed());
        let line = match self.format {
            Format::Json => json(&TotalsLine { schema: 1, duration_us, lines_lost, totals }),
            Format::Text => {
                let lost = match lines_lost {
                    0 => String::new(),
                    lost => format!("; {lost} lines lost: standard output was too slow, or failed"),
                };
                totals.text() + &lost
            }
        };
        self.print(&line);
    }

    /// Prints the totals at the end.
    pub(super) fn last_totals(&mut self, totals: &Totals, lines_lost: u64) {
        self.totals(totals, lines_lost);
        if self.unprinted > 0 {
            log::warn!("standard output failed to the end; {} lines are lost", self.unprinted);
        }
    }

    /// A server whose reader is gone, or whose disk is full, serves on, and says so once.
    pub(super) fn print(&mut self, line: &str) {
        match self.output.print_line(line) {
            Ok(_) if self.unprinted == 0 => {}
            Ok(_) => {
                log::warn!("standard output works again; {} lines are lost", self.unprinted);
                self.unprinted = 0;
            }
            Err(e) => {
                if self.unprinted == 0 {
                    log::warn!(
                        "can't print: {e}. Serving goes on; lines are lost until it works again"
                    );
                }
                self.unprinted += 1;
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl ConnectionEntry {
    /// An IPv4 client that came to an IPv6 listener is one of IPv4.
    fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.peer.ip().to_canonical(), self.peer.port())
    }
}

impl Totals {
    pub(crate) fn new(counted: &stats::Totals) -> Self {
        let mut totals = Self {
            connections: counted.get(Count::Accepted),
            syn_bytes: counted.get(Count::SynBytes),
            bytes_in: counted.get(Count::BytesIn),
            bytes_out: counted.get(Count::BytesOut),
            cookies: Cookies::new(|origin| counted.get(Count::Cookie(origin))),
            not_looked_at: counted.get(Count::Verdict(ArrivalVerdict::NotLookedAt)),
            unknown: counted.get(Count::Verdict(ArrivalVerdict::Unknown)),
            ..Self::default()
        };
        for verdict in Count::verdicts() {
            let count = counted.get(Count::Verdict(verdict));
            let ArrivalVerdict::Is(outcome, cause) = verdict else { continue };
            if count == 0 {
                continue;
            }
            *totals.verdicts.entry(outcome).or_default() += count;
            if let Some(cause) = cause {
                *totals.causes.entry(cause).or_default() += count;
            }
        }
        totals
    }

    fn text(&self) -> String {
        let noun = if self.connections == 1 { "connection" } else { "connections" };
        let mut line = format!("total: {} {noun}", self.connections);
        for (verdict, count) in &self.verdicts {
            line += &format!(", {count} {verdict}");
        }
        if self.not_looked_at > 0 {
            line += &format!(", {} not looked at", self.not_looked_at);
        }
        if self.unknown > 0 {
            line += &format!(", {} unknown", self.unknown);
        }
        line += &format!(
            "; {} B in SYNs, {} B in, {} B out",
            self.syn_bytes, self.bytes_in, self.bytes_out
        );
        line + &self.cookies.text()
    }
}

impl Cookies {
    fn new(count: impl Fn(CookieOrigin) -> u64) -> Self {
        Self {
            primary: count(CookieOrigin::Primary),
            backup: count(CookieOrigin::Backup),
            next: count(CookieOrigin::Next),
            previous: count(CookieOrigin::Previous),
            other_source: count(CookieOrigin::OtherSource),
            unknown: count(CookieOrigin::Unknown),
        }
    }

    /// What is worth a word: cookies of another key than the primary.
    fn text(&self) -> String {
        let refused = [
            (self.next, "the next key"),
            (self.previous, "earlier keys"),
            (self.other_source, "another address"),
            (self.unknown, "no known key"),
        ];
        let all = self.primary + self.backup + refused.iter().map(|(count, _)| count).sum::<u64>();
        let told: Vec<_> = [(self.backup, "the backup key")]
            .iter()
            .chain(&refused)
            .filter(|(count, _)| *count > 0)
            .map(|(count, of)| format!("{count} of {of} ({} %)", count * 100 / all))
            .collect();
        if told.is_empty() {
            return String::new();
        }
        let noun = if all == 1 { "cookie" } else { "cookies" };
        format!("; of {all} {noun} {}", told.join(", "))
    }
}

fn text(
    ended: &ConnectionEntry,
    verdict: Option<&Verdict>,
    syn_bytes: usize,
    cookie: Cookie,
) -> String {
    let mut line = ended.peer().to_string();
    if let Some(client) = ended.client {
        line += &format!(" for {client}");
    }
    if let Some(upstream) = ended.upstream {
        line += &format!(" to {upstream}");
    }
    match verdict {
        Some(verdict) => {
            line += &format!(" {}", verdict.outcome);
            if let Some(cause) = verdict.cause {
                line += &format!(" ({cause})");
            }
            line += &format!(", {syn_bytes} B in the SYN, {}", cookie.text());
        }
        None if ended.counted_as == ArrivalVerdict::Unknown => {
            line += &format!(" unknown, {}", cookie.text());
        }
        None => line += " not looked at",
    }
    // A cookie of the primary key is what is expected, unless it was refused.
    let refused = verdict
        .is_some_and(|verdict| matches!(verdict.outcome, Outcome::Fallback | Outcome::Failed));
    if let Some(origin) = ended.cookie_origin.filter(|origin| refused || *origin != Origin::Primary)
    {
        line += &format!(" {origin}");
    }
    line += &format!(", {:.1} ms", ended.duration.as_secs_f64() * 1e3);
    if let Some(why) = &ended.cut_short {
        line += &format!(", ended: {why}");
    }
    line
}

fn of_syn(syn: &SavedSynEvidence) -> (usize, Cookie) {
    match syn {
        SavedSynEvidence::Saved(ArrivedSyn { payload_bytes, fast_open, .. }) => {
            let cookie = match fast_open {
                None => Cookie::None,
                Some(ArrivedOption { cookie, .. }) if cookie.is_empty() => Cookie::Request,
                // Two hex digits a byte.
                Some(ArrivedOption { cookie, .. }) => Cookie::Bytes(cookie.len() / 2),
            };
            (*payload_bytes, cookie)
        }
        _ => (0, Cookie::Unknown),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
