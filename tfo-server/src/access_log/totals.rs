//! The line with the totals.

use std::collections::BTreeMap;
use std::time::Duration;
use tfo_core::cli::output::counted;

use serde::Serialize;
use tfo_core::cli::value::Format;
use tfo_core::diagnosis::{Cause, HitRate, Outcome};

use crate::arrival::ArrivalVerdict;
use crate::metrics::stats::{Count, OriginLabel, Totals};
use crate::output::{json, micros};

/// The totals of all connections.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TotalsEntry {
    connections: u64,
    syn_bytes: u64,
    bytes_in: u64,
    bytes_out: u64,
    cookies: Cookies,
    verdicts: BTreeMap<Outcome, u64>,
    /// From 0 to 1; null: no connection tried fast open.
    hit_rate: Option<f64>,
    causes: BTreeMap<Cause, u64>,
    /// Connections without a verdict: `engine.evidence` is "counters".
    #[serde(skip_serializing_if = "is_zero")]
    not_looked_at: u64,
    /// Connections whose SYN was not seen.
    #[serde(skip_serializing_if = "is_zero")]
    unknown: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Number of cookies per key that generated them, if keys are known.
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
struct TotalsLine<'a> {
    schema: u32,
    duration_us: u64,
    /// Lines that were lost.
    #[serde(skip_serializing_if = "is_zero")]
    lines_lost: u64,
    totals: &'a TotalsEntry,
}

impl TotalsEntry {
    pub(crate) fn new(counted: &Totals) -> Self {
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
        let counts = totals.verdicts.iter().map(|(outcome, count)| (*outcome, *count));
        totals.hit_rate = counts.collect::<HitRate>().share();
        totals
    }

    /// Formats the line after the server has served for this long. `lines_lost`: number of lost lines.
    pub(super) fn line(&self, format: Format, served: Duration, lines_lost: u64) -> String {
        match format {
            Format::Json => {
                let duration_us = micros(served);
                json(&TotalsLine { schema: 1, duration_us, lines_lost, totals: self })
            }
            Format::Text => {
                let lost = match lines_lost {
                    0 => String::new(),
                    lost => format!(
                        "; {} lost: standard output was too slow, or failed",
                        counted(lost, "line", "lines")
                    ),
                };
                self.text() + &lost
            }
        }
    }

    fn text(&self) -> String {
        let mut line = format!("total: {}", counted(self.connections, "connection", "connections"));
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
    fn new(count: impl Fn(OriginLabel) -> u64) -> Self {
        Self {
            primary: count(OriginLabel::Primary),
            backup: count(OriginLabel::Backup),
            next: count(OriginLabel::Next),
            previous: count(OriginLabel::Previous),
            other_source: count(OriginLabel::OtherSource),
            unknown: count(OriginLabel::Unknown),
        }
    }

    /// Returns the shares of cookies from other keys than the primary, if there were any.
    fn text(&self) -> String {
        let refused = [
            (self.next, "the next key"),
            (self.previous, "earlier keys"),
            (self.other_source, "another address"),
            (self.unknown, "no known key"),
        ];
        let all = self.primary + self.backup + refused.iter().map(|(count, _)| count).sum::<u64>();
        let shares: Vec<_> = [(self.backup, "the backup key")]
            .iter()
            .chain(&refused)
            .filter(|(count, _)| *count > 0)
            .map(|(count, of)| format!("{count} of {of} ({} %)", count * 100 / all))
            .collect();
        if shares.is_empty() {
            return String::new();
        }
        format!("; of {} {}", counted(all, "cookie", "cookies"), shares.join(", "))
    }
}
