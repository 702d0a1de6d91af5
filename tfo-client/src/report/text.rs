//! The table for people: a row as each connection ends, the finding and the next step below.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use tfo_core::diagnosis::{Outcome, Summary, Verdict};

use super::{Connection, Report};

/// What stands above the rows.
pub(super) fn head(report: &Report) -> String {
    let address = report.address;
    let target = if report.host == address.ip().to_string() {
        address.to_string()
    } else {
        format!("{} ({address})", report.host)
    };
    let connections = if report.count == 1 { "connection" } else { "connections" };
    format!(
        "{target}: {} {connections}, {} B of first bytes each\n\n  {:>3}  {:<31} {:>10}  {:>10}  {:>9}\n",
        report.count, report.message_bytes, "#", "verdict", "in the SYN", "first byte", "RTT"
    )
}

pub(super) fn row(connection: &Connection, colour: bool) -> String {
    let style = style(connection.verdict.outcome, colour);
    let verdict = words(&connection.verdict);
    format!(
        "  {:>3}  {style}{verdict:<31}{style:#} {:>10}  {:>10}  {:>9}\n",
        connection.n,
        format!("{} B", connection.syn_bytes()),
        time(connection.timing.first_byte),
        time(connection.timing.rtt),
    )
}

pub(super) fn foot(report: &Report, summary: &Summary, colour: bool) -> String {
    let verdict = &summary.verdict;
    let style = style(verdict.outcome, colour);
    let mut text = format!("\n{style}{}{style:#}\n{}\n", words(verdict), verdict.finding);
    if !verdict.candidates.is_empty() {
        let names: Vec<&str> = verdict.candidates.iter().map(|cause| cause.as_str()).collect();
        text += &format!("It may be: {}.\n", names.join(", "));
    }
    if report.address.ip().is_loopback() && verdict.outcome == Outcome::FastOpen {
        text += "Loopback has no round trip to save: judge by the verdict, not by the times.\n";
    }
    text + &next_step(verdict)
}

/// What to do next, if there is something.
pub(super) fn next_step(verdict: &Verdict) -> String {
    match verdict.advice.as_str() {
        "" | NOTHING => String::new(),
        advice => format!("\nNext: {advice}\n"),
    }
}

/// What needs no line of its own.
const NOTHING: &str = "Nothing to do.";

/// The verdict with its cause, in the words of the documentation.
pub(super) fn words(verdict: &Verdict) -> String {
    match verdict.cause {
        Some(cause) => format!("{}: {cause}", verdict.outcome),
        None => verdict.outcome.to_string(),
    }
}

pub(super) fn style(outcome: Outcome, colour: bool) -> Style {
    if !colour {
        return Style::new();
    }
    let colour = match outcome {
        Outcome::FastOpen => AnsiColor::Green,
        Outcome::Failed => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    Style::new().bold().fg_color(Some(colour.into()))
}

pub(super) fn time(time: Option<Duration>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < Duration::from_millis(1) => format!("{} µs", time.as_micros()),
        Some(time) if time < Duration::from_secs(1) => {
            format!("{:.1} ms", time.as_secs_f64() * 1e3)
        }
        Some(time) => format!("{:.2} s", time.as_secs_f64()),
    }
}
