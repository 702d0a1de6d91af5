//! Text that the reports for people share: lines of 80 columns, verdicts, times, the next step.

use std::net::SocketAddr;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
pub(crate) use tfo_core::cli::output::{counted, wrap as wrap_to};
use tfo_core::cli::screen::drawing_width;
use tfo_core::diagnosis::{Outcome, Verdict};

/// The maximum number of columns of prose.
pub(crate) const WIDTH: usize = 80;
/// The advice that is not printed.
const NOTHING: &str = "Nothing to do.";

/// Returns the line that names the manual page of a verdict; empty for `fast-open`.
pub(crate) fn page_hint(verdict: &Verdict) -> String {
    match (verdict.outcome, verdict.cause) {
        (Outcome::FastOpen, _) => String::new(),
        (outcome, None) => page(outcome.as_str()),
        (_, Some(cause)) => page(cause.as_str()),
    }
}

/// Returns the line with the command that shows the page of a verdict, a cause or a fault.
pub(crate) fn page(word: &str) -> String {
    format!("More: tfo-client explain {word}\n")
}

/// Returns the lines with the causes that remain, and whether these are all; empty if the cause is settled.
pub(crate) fn candidates(verdict: &Verdict) -> String {
    if verdict.candidates.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = verdict.candidates.iter().map(|cause| cause.as_str()).collect();
    let which = if verdict.candidates_complete { "One of" } else { "Possible, among others" };
    wrap(&format!("{which}: {}.", names.join(", ")))
}

/// Returns the paragraph with the advice of a verdict; empty if nothing needs to be done.
pub(crate) fn next_step(verdict: &Verdict) -> String {
    format_advice(&verdict.advice)
}

/// Returns the paragraph with an advice; empty if nothing needs to be done.
pub(crate) fn format_advice(advice: &str) -> String {
    match advice {
        "" | NOTHING => String::new(),
        advice => format!("\n{}", wrap(&format!("Next: {advice}"))),
    }
}

/// Returns the columns of prose: fewer than [`WIDTH`] on a narrow terminal.
pub(crate) fn width() -> usize {
    drawing_width().min(WIDTH)
}

/// Breaks lines between words, but never within backticks, so that commands can be pasted.
pub(crate) fn wrap(text: &str) -> String {
    wrap_to(text, width())
}

/// Returns the host and its address, or the address alone if the host was given as one.
pub(crate) fn host_with_address(host: &str, address: SocketAddr) -> String {
    if host == address.ip().to_string() {
        address.to_string()
    } else {
        format!("{host} ({address})")
    }
}

/// Returns the verdict with its cause, in the words of the documentation.
pub(crate) fn verdict_with_cause(verdict: &Verdict) -> String {
    match verdict.cause {
        Some(cause) => format!("{} ({cause})", verdict.outcome),
        None => verdict.outcome.to_string(),
    }
}

pub(crate) fn style(outcome: Outcome, colour: bool) -> Style {
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

pub(crate) fn time(time: Option<Duration>) -> String {
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
    fn wrap_breaks_between_words_and_never_in_a_command() {
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
}
