//! One line for each connection that has ended, and the totals at the end.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::{
    ArrivedOption, ArrivedSyn, Cause, Outcome, SavedSynEvidence, ServerEvidence, Verdict,
};
use tfo_core::program::{output::Output, value::Format};

use super::json;
use super::trace::Tracer;
use crate::config::values::Service;

/// A connection that has ended.
pub(crate) struct Ended {
    pub(crate) evidence: ServerEvidence,
    pub(crate) verdict: Verdict,
    /// Which key made the cookie of its SYN, where keys are known.
    pub(crate) cookie_origin: Option<Origin>,
    pub(crate) service: Service,
    pub(crate) duration: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Why the server ended it before it was done.
    pub(crate) cut_short: Option<String>,
}

/// Prints connections as they end, and counts them.
pub(crate) struct Reporter {
    output: Output,
    format: Format,
    started: Instant,
    totals: Totals,
    tracer: Option<Tracer>,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    connections: u64,
    syn_bytes: u64,
    bytes_in: u64,
    bytes_out: u64,
    cookies: Cookies,
    verdicts: BTreeMap<Outcome, u64>,
    causes: BTreeMap<Cause, u64>,
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
struct Line<'a> {
    schema: u32,
    peer: String,
    #[serde(flatten)]
    verdict: &'a Verdict,
    syn_bytes: usize,
    cookie: Cookie,
    cookie_origin: Option<Origin>,
    duration_us: u64,
    service: Service,
    bytes_in: u64,
    bytes_out: u64,
    cut_short: Option<&'a str>,
    evidence: &'a ServerEvidence,
}

#[derive(Serialize)]
struct TotalsLine<'a> {
    schema: u32,
    duration_us: u64,
    totals: &'a Totals,
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

impl Reporter {
    pub(crate) fn new(format: Format, tracer: Option<Tracer>) -> Self {
        let (output, started) = (Output::stdout(), Instant::now());
        Self { output, format, started, totals: Totals::default(), tracer }
    }

    /// Draws the packets of connections that ended a moment ago.
    pub(crate) fn tick(&mut self) {
        self.draw(false);
    }

    fn draw(&mut self, all: bool) {
        let ladders = self.tracer.as_mut().map(|tracer| tracer.ladders(all));
        for ladder in ladders.into_iter().flatten() {
            self.print(&ladder);
        }
    }

    pub(crate) fn connection(&mut self, ended: &Ended) {
        let (syn_bytes, cookie) = of_syn(&ended.evidence.syn);
        self.totals.add(ended, syn_bytes);
        let line = match self.format {
            Format::Json => json(&Line {
                schema: 1,
                peer: ended.evidence.source.to_string(),
                verdict: &ended.verdict,
                syn_bytes,
                cookie,
                cookie_origin: ended.cookie_origin,
                duration_us: micros(ended.duration),
                service: ended.service,
                bytes_in: ended.bytes_in,
                bytes_out: ended.bytes_out,
                cut_short: ended.cut_short.as_deref(),
                evidence: &ended.evidence,
            }),
            Format::Text => text(ended, syn_bytes, cookie),
        };
        self.print(&line);
        if let Some(tracer) = &mut self.tracer {
            tracer.ended(ended.evidence.source, ended.evidence.destination);
        }
    }

    pub(crate) fn totals(&mut self) {
        if let Some(tracer) = &self.tracer {
            thread::sleep(tracer.grace());
        }
        self.draw(true);
        let totals = &self.totals;
        let line = match self.format {
            Format::Json => {
                json(&TotalsLine { schema: 1, duration_us: micros(self.started.elapsed()), totals })
            }
            Format::Text => {
                let noun = if totals.connections == 1 { "connection" } else { "connections" };
                let mut line = format!("total: {} {noun}", totals.connections);
                for (verdict, count) in &totals.verdicts {
                    line += &format!(", {count} {verdict}");
                }
                line += &format!(
                    "; {} B in SYNs, {} B in, {} B out",
                    totals.syn_bytes, totals.bytes_in, totals.bytes_out
                );
                line + &totals.cookies.text()
            }
        };
        self.print(&line);
    }

    /// A server whose reader is gone, or whose disk is full, serves on.
    fn print(&mut self, line: &str) {
        if let Err(e) = self.output.print_line(line) {
            log::warn!("a line of the report is lost: {e}");
        }
    }
}

impl Totals {
    fn add(&mut self, ended: &Ended, syn_bytes: usize) {
        self.connections += 1;
        self.syn_bytes += syn_bytes as u64;
        self.bytes_in += ended.bytes_in;
        self.bytes_out += ended.bytes_out;
        if let Some(origin) = ended.cookie_origin {
            self.cookies.add(origin);
        }
        *self.verdicts.entry(ended.verdict.outcome).or_default() += 1;
        if let Some(cause) = ended.verdict.cause {
            *self.causes.entry(cause).or_default() += 1;
        }
    }
}

impl Cookies {
    fn add(&mut self, origin: Origin) {
        *match origin {
            Origin::Primary => &mut self.primary,
            Origin::Backup => &mut self.backup,
            Origin::Next => &mut self.next,
            Origin::Previous(_) => &mut self.previous,
            Origin::OtherSource(_) => &mut self.other_source,
            _ => &mut self.unknown,
        } += 1;
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

fn text(ended: &Ended, syn_bytes: usize, cookie: Cookie) -> String {
    let mut line = format!("{} {}", ended.evidence.source, ended.verdict.outcome);
    if let Some(cause) = ended.verdict.cause {
        line += &format!(" ({cause})");
    }
    line += &format!(", {syn_bytes} B in the SYN, {}", cookie.text());
    // A cookie of the primary key is what is expected, unless it was refused.
    let refused = matches!(ended.verdict.outcome, Outcome::Fallback | Outcome::Failed);
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
