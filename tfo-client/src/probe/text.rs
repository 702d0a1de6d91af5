//! The text for people: a table row for each connection, then the finding and the next step.

use std::net::SocketAddr;

use tfo_core::capture::{Ladder, TextStyle};
use tfo_core::diagnosis::Outcome;

use super::connection::ProbedConnection;
use super::results::Results;
use crate::prose::{
    candidates, counted, format_advice, host_with_address, next_step, page_hint, style, time,
    verdict_with_cause, wrap,
};
use crate::trace;

/// Width of the column with verdict and cause; the longest is `not-attempted (paused-by-blackhole)`.
const VERDICT: usize = 35;

/// Returns the title and the table head.
pub(super) fn head(results: &Results) -> String {
    let target = host_with_address(&results.host, results.address);
    let connections = match results.count {
        Some(count) => counted(count, "connection", "connections"),
        None => "connections until Ctrl-C".to_owned(),
    };
    format!(
        "{target}: {connections}, {} B of first bytes each\n\n  {:>3}  {:<VERDICT$} {:>10}  {:>10}  {:>9}\n",
        results.message_bytes, "#", "verdict", "in the SYN", "first byte", "RTT"
    )
}

pub(super) fn row(connection: &ProbedConnection, colour: bool) -> String {
    let style = style(connection.verdict.outcome, colour);
    let verdict = verdict_with_cause(&connection.verdict);
    format!(
        "  {:>3}  {style}{verdict:<VERDICT$}{style:#} {:>10}  {:>10}  {:>9}\n",
        connection.n,
        format!("{} B", connection.syn_bytes()),
        time(connection.timing.first_byte),
        time(connection.timing.rtt),
    )
}

pub(super) fn ladder(
    connection: &ProbedConnection,
    server: SocketAddr,
    style: TextStyle,
) -> String {
    let client = connection.evidence.client.as_ref().and_then(|client| client.local);
    let client = client.map_or_else(|| "this host".to_owned(), |local| local.ip().to_string());
    let (packets, controls) = trace::without_controls(connection.packets.clone());
    let ladder = Ladder::new(client, server.ip().to_string()).packets(&packets).to_text(style);
    ladder + &trace::not_drawn(controls)
}

/// Returns the number of connections with each outcome so far, after a gap; empty before the first.
pub(super) fn running(results: &Results) -> String {
    let counts: Vec<String> =
        results.tally.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    match results.made() {
        0 => String::new(),
        made => format!("  {}: {}", counted(made, "connection", "connections"), counts.join(", ")),
    }
}

/// Returns the list of all addresses with their verdicts.
pub(super) fn overview(all: &[Results], colour: bool) -> String {
    let width = all.iter().map(|results| results.address.to_string().len()).max().unwrap_or(0);
    let mut text = "\nAll addresses:\n".to_owned();
    for results in all {
        let verdict = results.summary().verdict;
        let style = style(verdict.outcome, colour);
        let address = results.address.to_string();
        text += &format!("  {address:<width$}  {style}{}{style:#}\n", verdict_with_cause(&verdict));
    }
    text
}

pub(super) fn foot(results: &Results, colour: bool) -> String {
    let verdict = &results.summary().verdict;
    let style = style(verdict.outcome, colour);
    let mut text = String::new();
    if results.count.is_none() {
        text += &format!("\n{}.\n", running(results).trim_start());
        let kept = results.connections.len();
        if kept < results.made() as usize {
            text += &format!("What follows is about the last {kept} of them.\n");
        }
    }
    text += &format!("\nVerdict: {style}{}{style:#}\n", verdict_with_cause(verdict));
    text += &wrap(&verdict.finding);
    text += &candidates(verdict);
    if results.address.ip().is_loopback() && verdict.outcome == Outcome::FastOpen {
        text += "Loopback has no round trip to save: judge by the verdict, not by the times.\n";
    }
    match results.balance() {
        Some(balance) => {
            text += &format!("\n{}", wrap(&balance.finding));
            // Different keys are the reason for misses, so the balance's advice replaces the verdict's.
            text += &if balance.cookies.len() > 1 {
                format_advice(&balance.advice)
            } else {
                next_step(verdict)
            };
        }
        None => text += &next_step(verdict),
    }
    text + &page_hint(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prose::WIDTH;

    #[test]
    fn verdict_column_fits_the_longest_verdict() {
        assert_eq!("not-attempted (paused-by-blackhole)".len(), VERDICT);
        let row = 2 + 3 + 2 + VERDICT + 1 + 10 + 2 + 10 + 2 + 9;
        assert!(row <= WIDTH, "a row is too wide: {row}");
    }
}
