//! The report for people.

use crate::prose::counted;
use std::time::Duration;

use hdrhistogram::Histogram;
use tfo_core::diagnosis::Outcome;

use super::results::{Results, advice};
use super::settings::{Expect, Pace};
use super::tally::{Tally, per_second};
use crate::prose::{host_with_address, style, wrap};

/// The number of source addresses whose cookies Linux caches for one destination.
const SOURCES_WITH_COOKIES: usize = 5;

/// A longer delay of starts, in nanoseconds, is not only the kernel's wake-up latency.
const MAX_WAKE_UP_DELAY: u64 = 1_000_000;

/// The minimum CPU time for a split into user and system time, which the kernel samples.
const MIN_CPU_FOR_SPLIT: Duration = Duration::from_millis(500);

pub(super) fn progress(total: &Tally, time: Duration) -> String {
    let replies = total.replies();
    // The threads add their counters with a delay.
    let counted = total.elapsed.max(time.saturating_sub(Duration::from_secs(1)));
    let first_byte = total.times.first_byte();
    format!(
        "{:.0} s  {}/s  fast-open {}  errors {}  p50 {}  p99 {}",
        time.as_secs_f64(),
        grouped(rounded(per_second(replies, counted))),
        share(total.fast_open(), replies),
        grouped(total.errors()),
        quantile(&first_byte, 0.5),
        quantile(&first_byte, 0.99),
    )
}

pub(super) fn report(results: &Results<'_>, colour: bool) -> String {
    let total = results.total;
    let mut text = head(results);
    text += &verdicts(total, colour);
    text += &errors(total, colour);
    text += &times(results);
    text += &cost(total);
    text += &limits(results);
    let notes = notes(results);
    if !notes.is_empty() {
        text += "\n";
    }
    for note in notes {
        text += &wrap(&note);
    }
    text
}

fn head(results: &Results<'_>) -> String {
    let Results { settings: load, plan, total, .. } = *results;
    let target = host_with_address(results.host, results.address);
    let pace = match load.pace {
        Pace::Fast => format!("{} at once", grouped(load.concurrency as u64)),
        Pace::Rate(rate) => format!("{}/s requested", grouped(rate.into())),
    };
    let threads = counted(load.threads, "thread", "threads");
    let connections = if total.started == 1 { "connection" } else { "connections" };
    let unit = if plan.expect == Expect::Nothing { "connections" } else { "replies" };
    let end = if total.interrupted { ", interrupted" } else { "" };
    format!(
        "{target}: {} {connections} in {:.1} s{end}; {pace}, {threads}, {} B of first bytes each\n\n  {} {unit}/s\n\n",
        grouped(total.started),
        total.elapsed.as_secs_f64(),
        plan.request.len(),
        grouped(rounded(total.rate())),
    )
}

fn verdicts(total: &Tally, colour: bool) -> String {
    let mut text = String::new();
    for (outcome, cause, count) in total.verdicts() {
        let words = match cause {
            Some(cause) => format!("{outcome} ({cause})"),
            None => outcome.to_string(),
        };
        let style = style(outcome, colour);
        text += &row(&format!("{style}{words:<36}{style:#}"), count, total.started);
    }
    if let Some(rate) = total.hit_rate() {
        text +=
            &format!("  {:<36} {:>14}  {:>7}\n", "hit rate", "", format!("{:.1} %", rate * 100.0));
    }
    text
}

fn errors(total: &Tally, colour: bool) -> String {
    let style = style(Outcome::Failed, colour);
    let mut text = String::new();
    for (error, count) in total.connection_errors().filter(|(_, count)| *count > 0) {
        let words = format!("error: {}", error.as_str());
        text += &row(&format!("{style}{words:<36}{style:#}"), count, total.started);
    }
    if total.unfinished > 0 {
        text += &row(&format!("{:<36}", "open when interrupted"), total.unfinished, total.started);
    }
    text
}

fn row(words: &str, count: u64, all: u64) -> String {
    format!("  {words} {:>14}  {:>7}\n", grouped(count), share(count, all))
}

fn times(results: &Results<'_>) -> String {
    let Results { plan, total, .. } = *results;
    let times = &total.times;
    if total.replies() == 0 {
        return String::new();
    }
    let mut text = format!(
        "\n  {:<22} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "", "p50", "p90", "p99", "p99.9", "max"
    );
    let first = if plan.expect == Expect::Nothing { "established" } else { "first byte" };
    if times.fast_open.is_empty() || times.regular.is_empty() {
        text += &percentiles(first, &times.first_byte());
    } else {
        text += &percentiles(&format!("{first}, fast open"), &times.fast_open);
        text += &percentiles(&format!("{first}, others"), &times.regular);
    }
    if plan.expect != Expect::Nothing {
        text += &percentiles("reply's end", &times.reply);
    }
    if !times.start.is_empty() {
        text += &percentiles("late start", &times.start);
    }
    text
}

fn percentiles(name: &str, times: &Histogram<u64>) -> String {
    let mut text = format!("  {name:<22}");
    for at in [0.5, 0.9, 0.99, 0.999, 1.0] {
        text += &format!(" {:>9}", quantile(times, at));
    }
    text + "\n"
}

fn cost(total: &Tally) -> String {
    let each = |time: Duration| total.per_connection(time);
    let mut text = format!("\n  client CPU {:.1} µs per connection", each(total.cpu.total()));
    if total.cpu.total() >= MIN_CPU_FOR_SPLIT {
        let (user, system) = (each(total.cpu.user), each(total.cpu.system));
        text += &format!(": {user:.1} user, {system:.1} system");
    }
    text + "\n"
}

fn limits(results: &Results<'_>) -> String {
    let load = results.settings;
    let met = |met: bool| if met { "met" } else { "not met" };
    let mut text = String::new();
    if let (Some(least), Some(fast)) = (load.fail_under, results.rate_met) {
        text += &format!("  --fail-under {least}: {}\n", met(fast));
    }
    if let (Some(most), Some(short)) = (load.max_p99, results.p99_met) {
        let p99 = results.total.p99().map_or("no reply".to_owned(), time);
        text += &format!("  --max-p99 {}: {}, p99 is {p99}\n", time(most), met(short));
    }
    text
}

fn notes(results: &Results<'_>) -> Vec<String> {
    let Results { settings: load, plan, total, address, .. } = *results;
    let mut notes = Vec::new();
    for (error, count) in total.connection_errors().filter(|(_, count)| *count > 0) {
        if let Some(advice) = advice(error, results.address) {
            notes.push(format!("{} {}: {advice}.", grouped(count), error.as_str()));
        }
    }
    if plan.expect == Expect::Nothing && total.replies() > 0 {
        notes.push(
            "No reply was waited for: the host of the server accepted these connections, and nothing shows \
             whether its service did."
                .to_owned(),
        );
    }
    if let Some(wrong) = total.wrong_reply {
        notes.push(format!("A wrong reply: {wrong}."));
    }
    if let Some(errno) = total.other_errno {
        notes.push(format!("Another error: {}.", std::io::Error::from_raw_os_error(errno)));
    }
    if total.not_started > 0 {
        notes.push(format!(
            "{} {} due but not started, because {} were already open. Raise --concurrency.",
            grouped(total.not_started),
            if total.not_started == 1 { "connection was" } else { "connections were" },
            grouped(load.concurrency as u64)
        ));
    }
    // A delay that is small compared with the path's latency does not matter.
    let matters = MAX_WAKE_UP_DELAY.max(total.times.first_byte().value_at_quantile(0.5) / 10);
    if total.times.start.value_at_quantile(0.99) > matters {
        notes.push(
            "Connections were started late (see late start above), and their times include the delay: this \
             client or its --concurrency limits the rate. Try more --threads."
                .to_owned(),
        );
    }
    if plan.sources.len() > SOURCES_WITH_COOKIES {
        notes.push(format!(
            "{} source addresses evict each other's cookies: Linux caches about {SOURCES_WITH_COOKIES} of them \
             per destination.",
            plan.sources.len()
        ));
    }
    if address.ip().is_loopback() {
        notes.push(
            "Loopback has no round trip to save: fast open saves packets here, but no time."
                .to_owned(),
        );
    }
    notes
}

fn quantile(times: &Histogram<u64>, at: f64) -> String {
    if times.is_empty() {
        return "-".to_owned();
    }
    time(Duration::from_nanos(times.value_at_quantile(at)))
}

/// Formats a time with three significant digits, the precision of a histogram.
fn time(time: Duration) -> String {
    let (value, unit) = match time.as_nanos() {
        0..1_000_000 => (time.as_secs_f64() * 1e6, "µs"),
        1_000_000..1_000_000_000 => (time.as_secs_f64() * 1e3, "ms"),
        _ => (time.as_secs_f64(), "s"),
    };
    let digits = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// Formats a number with thousands separators: `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive, and below 2^64"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "2^53 connections take a while")]
fn share(count: u64, all: u64) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    format!("{:.1} %", count as f64 * 100.0 / all as f64)
}
