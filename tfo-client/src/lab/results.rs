//! The results of the lab: connections with their packets, and the time that fast open saved.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tfo_core::capture::{Ladder, PacketPath};
use tfo_core::diagnosis::{self, Outcome, Summary, Verdict};

use super::next_step::next_step;
use super::observed::Observed;
use crate::network::NetworkSettings;
use crate::probe::ProbedConnection;

pub(super) struct Results {
    pub(super) network: NetworkSettings,
    pub(super) address: SocketAddr,
    pub(super) connections: Vec<LabConnection>,
}

/// A connection with its packets.
pub(super) struct LabConnection {
    pub(super) title: String,
    /// The probe's result; `None` if another program made the connection.
    pub(super) probed: Option<ProbedConnection>,
    /// The verdict on the connection of another program, as far as its packets settle it.
    pub(super) observed: Option<Observed>,
    pub(super) packets: Vec<PacketPath>,
    /// The number of regular connections that were made to compare with.
    pub(super) controls: usize,
}

/// The time that fast open saved, compared with the regular connection.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Saved {
    /// The time in microseconds; negative if fast open cost time.
    pub(super) us: i64,
    pub(super) round_trips: f64,
}

fn is_early(verdict: &Verdict) -> bool {
    verdict.saved == Some(diagnosis::Saved::RoundTrip)
}

impl Results {
    pub(super) fn last_outcome(&self) -> Option<Outcome> {
        self.connections.last()?.probed.as_ref().map(|probed| probed.verdict.outcome)
    }

    /// Returns whether the last connection's block ends with this sentence.
    pub(super) fn is_last_finding(&self, finding: &str) -> bool {
        self.probed().last().is_some_and(|probed| probed.verdict.finding == finding)
    }

    /// Summarizes the probe's connections, without the regular one.
    pub(super) fn summary(&self) -> Option<Summary> {
        let verdicts: Vec<Verdict> = self
            .probed()
            .filter(|probed| probed.n > 0)
            .map(|probed| probed.verdict.clone())
            .collect();
        (!verdicts.is_empty()).then(|| {
            let mut summary = diagnosis::summarize(&verdicts);
            summary.verdict.advice = next_step(&self.network, &summary.verdict);
            summary
        })
    }

    /// Counts the connections of a program by verdict, in words; `None` if there are none.
    pub(super) fn counts(&self) -> Option<String> {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for connection in self.connections.iter().filter(|connection| connection.probed.is_none()) {
            let verdict = connection.observed.as_ref().map(Observed::in_words);
            let verdict = verdict.unwrap_or_else(|| "without a verdict".to_owned());
            match counts.iter_mut().find(|(known, _)| *known == verdict) {
                Some((_, count)) => *count += 1,
                None => counts.push((verdict, 1)),
            }
        }
        let all: usize = counts.iter().map(|(_, count)| count).sum();
        let each: Vec<String> =
            counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        match all {
            0 => None,
            1 => Some(format!("1 connection: {}.", counts.first()?.0)),
            _ => Some(format!("{all} connections: {}.", each.join(", "))),
        }
    }

    fn probed(&self) -> impl Iterator<Item = &ProbedConnection> {
        self.connections.iter().filter_map(|connection| connection.probed.as_ref())
    }

    /// Converts a time to round trips of the path; `None` if the round trip time is too short.
    pub(super) fn round_trips(&self, time: Duration) -> Option<f64> {
        self.has_round_trip().then(|| time.as_secs_f64() / self.network.rtt.as_secs_f64())
    }

    /// Returns whether the round trip time is long enough to compare times with. Below a millisecond, the
    /// machine itself takes most of the time.
    pub(super) fn has_round_trip(&self) -> bool {
        self.network.rtt >= Duration::from_millis(1)
    }

    /// What fast open saved, or cost. `None` where nothing can be saved, and where a single connection proves
    /// nothing, as chance makes it slow.
    pub(super) fn saved(&self) -> Option<Saved> {
        if !self.network.is_steady() {
            return None;
        }
        let regular = self.probed().find(|probed| probed.n == 0)?.timing.first_byte?;
        let tried = |wanted: fn(&Verdict) -> bool| -> Vec<Duration> {
            self.probed()
                .filter(|probed| probed.n > 0 && wanted(&probed.verdict))
                .filter_map(|probed| probed.timing.first_byte)
                .collect()
        };
        // What the verdicts call no saving is none here.
        let mut times = tried(is_early);
        let is_saving = !times.is_empty();
        if tried(|verdict| verdict.outcome == Outcome::FastOpen).is_empty() {
            // Fast open never worked, so measure the cost of trying it.
            times = tried(|verdict| verdict.outcome == Outcome::Fallback);
        }
        times.sort_unstable();
        let fast = times.get(times.len() / 2)?;
        // Fast open saves one round trip; what is more was a busy machine.
        let rtt = self.network.rtt.as_secs_f64();
        let saved = (regular.as_secs_f64() - fast.as_secs_f64()).min(rtt);
        #[allow(clippy::cast_possible_truncation, reason = "microseconds of a probe fit")]
        let us = (saved * 1e6).round() as i64;
        let saved = Saved { us, round_trips: saved / rtt };
        // A regular connection that was as fast, against the verdicts, was so by chance.
        (self.has_round_trip() && (saved.round_trips >= 0.5 || !is_saving)).then_some(saved)
    }

    /// Whether data was accepted that no answer followed.
    pub(super) fn is_unanswered(&self) -> bool {
        self.probed().any(|probed| probed.verdict.unanswered)
    }

    /// Whether a round trip was saved by the verdict of a connection.
    pub(super) fn has_early_answer(&self) -> bool {
        self.probed().any(|probed| is_early(&probed.verdict))
    }

    pub(super) fn ladder(&self, connection: &LabConnection) -> Ladder {
        let client = if self.address.is_ipv6() { "client 2001:db8::1" } else { "client 192.0.2.1" };
        let server = format!("server {}", self.address.ip());
        Ladder::new(client, server).title(&connection.title).packets(&connection.packets)
    }

    /// Draws the first and the last connection, to compare a regular one with fast open.
    pub(super) fn picture(&self) -> String {
        match self.connections.as_slice() {
            [] => Ladder::new("client", "server").title("No connection crossed the path").to_svg(),
            [only] => self.ladder(only).to_svg(),
            [first, .., last] => self.ladder(first).to_svg_beside(&self.ladder(last)),
        }
    }
}
