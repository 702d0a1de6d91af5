//! The table for people: a row as each connection ends, the finding and the next step below.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use tfo_core::diagnosis::{Outcome, Summary, Verdict};

use super::{Connection, Report, explain};

/// Columns of prose: what a terminal has at least.
pub(super) const WIDTH: usize = 80;
/// Columns of a verdict with its cause: the longest is `not-attempted (paused-by-blackhole)`.
const VERDICT: usize = 35;
/// An advice that needs no line.
const NOTHING: &str = "Nothing to do.";

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
        "{target}: {} {connections}, {} B of first bytes each\n\n  {:>3}  {:<VERDICT$} {:>10}  {:>10}  {:>9}\n",
        report.count, report.message_bytes, "#", "verdict", "in the SYN", "first byte", "RTT"
    )
}

pub(super) fn row(connection: &Connection, colour: bool) -> String {
    let style = style(connection.verdict.outcome, colour);
    let verdict = words(&connection.verdict);
    format!(
        "  {:>3}  {style}{verdict:<VERDICT$}{style:#} {:>10}  {:>10}  {:>9}\n",
        connection.n,
        format!("{} B", connection.syn_bytes()),
        time(connection.timing.first_byte),
        time(connection.timing.rtt),
    )
}

pub(super) fn foot(report: &Report, summary: &Summary, colour: bool) -> String {
    let verdict = &summary.verdict;
    let style = style(verdict.outcome, colour);
    let mut text = format!("\nVerdict: {style}{}{style:#}\n", words(verdict));
    text += &wrap(&verdict.finding);
    if !verdict.candidates.is_empty() {
        let names: Vec<&str> = verdict.candidates.iter().map(|cause| cause.as_str()).collect();
        text += &wrap(&format!("It may be: {}.", names.join(", ")));
    }
    if report.address.ip().is_loopback() && verdict.outcome == Outcome::FastOpen {
        text += "Loopback has no round trip to save: judge by the verdict, not by the times.\n";
    }
    match report.balance() {
        Some(balance) => {
            text += &format!("\n{}", wrap(&balance.finding));
            // Where keys differ they are why connections miss: one remedy is enough.
            text +=
                &if balance.cookies.len() > 1 { next(&balance.advice) } else { next_step(verdict) };
        }
        None => text += &next_step(verdict),
    }
    text + &more(verdict)
}

/// Where the manual tells of it.
pub(super) fn more(verdict: &Verdict) -> String {
    match (verdict.outcome, verdict.cause) {
        (Outcome::FastOpen, _) => String::new(),
        (outcome, None) => explain::more(outcome.as_str()),
        (_, Some(cause)) => explain::more(cause.as_str()),
    }
}

/// What to do next, if there is something.
pub(super) fn next_step(verdict: &Verdict) -> String {
    next(&verdict.advice)
}

fn next(advice: &str) -> String {
    match advice {
        "" | NOTHING => String::new(),
        advice => format!("\n{}", wrap(&format!("Next: {advice}"))),
    }
}

/// Breaks lines between words, but never in a command: one in backticks can be pasted as it stands.
pub(super) fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    let mut in_command = false;
    for piece in text.split_inclusive(|c| {
        in_command ^= c == '`';
        c == ' ' && !in_command
    }) {
        let width = piece.trim_end().chars().count();
        if column > 0 && column + width > WIDTH {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            column = 0;
        }
        wrapped += piece;
        column += piece.chars().count();
    }
    wrapped + "\n"
}

/// The verdict with its cause, in the words of the documentation.
pub(super) fn words(verdict: &Verdict) -> String {
    match verdict.cause {
        Some(cause) => format!("{} ({cause})", verdict.outcome),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_never_in_a_command() {
        let command = "`sudo tcpdump -vni any 'host 192.0.2.2 and tcp port 2222 and tcp[tcpflags] & tcp-syn != 0'`";
        let prose = "Find the box that removes the option, hop by hop, on both ends of the path";
        let text = format!("{prose}: {command}; then repeat: `tfo-client -n 3`.");
        let wrapped = wrap(&text);
        assert_eq!(wrapped.lines().collect::<Vec<_>>().join(" "), text, "nothing is lost");
        assert!(wrapped.contains(command), "{wrapped}");
        assert!(wrapped.contains("`tfo-client -n 3`."), "{wrapped}");
        for line in wrapped.lines() {
            assert!(line.len() <= WIDTH || line.starts_with(command), "{line}");
            assert_eq!(line, line.trim(), "no blanks at either end");
        }
        assert_eq!(wrap("short"), "short\n");
    }

    #[test]
    fn the_verdicts_column_holds_the_longest() {
        assert_eq!("not-attempted (paused-by-blackhole)".len(), VERDICT);
        let row = 2 + 3 + 2 + VERDICT + 1 + 10 + 2 + 10 + 2 + 9;
        assert!(row <= WIDTH, "a row fits: {row}");
    }
}
