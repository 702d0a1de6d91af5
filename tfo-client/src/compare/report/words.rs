//! The sentences and numbers that all reports of a comparison share.

use crate::compare::analysis::{
    Analysis, Answer, Distribution, Inconclusive, MIN_HIT_RATE, MIN_RTT, MIN_SAMPLES, Miss, Summary,
};
use crate::compare::sample::{Metric, Side};
use crate::compare::statistics::{Estimate, Quantile, Share};
use crate::prose::counted;

/// A quantile of a sample.
type Tail = fn(&Summary) -> Option<Quantile>;
/// The quantiles other than the median, with their names.
pub(super) const TAILS: [(&str, Tail); 2] =
    [("p90", |summary| summary.p90), ("p99", |summary| summary.p99)];

/// The name of the figure that weighs what is saved against what misses cost.
pub(super) const EXPECTATION: &str = "Expectation";

/// Returns the answer in a few words.
pub(super) fn headline(analysis: &Analysis) -> &'static str {
    if analysis.both_regular {
        return match analysis.answer {
            Answer::On | Answer::Off => "The sides differ, although both are regular.",
            Answer::NoDifference => "No difference, as expected.",
            Answer::Unknown(_) => "Inconclusive.",
        };
    }
    match analysis.answer {
        Answer::On => "Turn it on.",
        Answer::Off => "Leave it off.",
        Answer::NoDifference => "It makes no difference here.",
        Answer::Unknown(_) => "Inconclusive.",
    }
}

/// Returns the reason for the answer, as sentences.
pub(super) fn reason(analysis: &Analysis) -> String {
    match &analysis.answer {
        Answer::Unknown(reason) => inconclusive(analysis, *reason),
        _ if analysis.both_regular => both_regular(analysis),
        Answer::On => format!("{}{}", saved(analysis), net(analysis)),
        Answer::Off => off(analysis),
        Answer::NoDifference => no_difference(analysis),
    }
}

fn saved(analysis: &Analysis) -> String {
    let Some(saved) = analysis.saved() else { return String::new() };
    let trips = analysis
        .round_trips(saved.value)
        .map_or_else(String::new, |trips| format!(": {trips:.2} round trips"));
    let hits = analysis.hit_rate;
    let all = analysis.regular.total;
    let used = if hits.count == all {
        format!("All {all} attempts used it.")
    } else {
        format!("{} of {all} attempts used it.", hits.count)
    };
    format!("Fast open saves {} {}{trips}. {used}", time(saved.value), until(analysis.metric))
}

/// Describes the net expectation; empty without misses.
fn net(analysis: &Analysis) -> String {
    match analysis.net {
        Some(net) if !analysis.misses.is_empty() => format!(
            " Including the cost of misses, the mean gain is {} per connection.",
            time(net.value)
        ),
        _ => String::new(),
    }
}

fn off(analysis: &Analysis) -> String {
    let net = analysis.net.map_or(0.0, |net| -net.value);
    let hits = analysis.hit_rate;
    let Some(miss) = analysis.misses.iter().max_by(|one, other| {
        let whole =
            |miss: &Miss| miss.cost * f64::from(u32::try_from(miss.count).unwrap_or(u32::MAX));
        whole(one).total_cmp(&whole(other))
    }) else {
        return format!(
            "Connections with fast open are slower here, by {} {}.",
            time(net),
            until(analysis.metric)
        );
    };
    format!(
        "Trying fast open costs {} per connection on average: {} of {} attempts used it, and {} ended as \
         {}, which takes {} longer than a regular connection{}.",
        time(net),
        hits.count,
        analysis.regular.total,
        miss.count,
        miss.word,
        time(miss.cost),
        if miss.failed { ": it fails, and the program has to connect again" } else { "" },
    )
}

fn no_difference(analysis: &Analysis) -> String {
    let Some(net) = analysis.net else { return String::new() };
    format!(
        "The net expectation is {} per connection, {}: {}.",
        time(net.value),
        interval(net),
        if net.differs_from_zero() { "too small to matter" } else { "it may be zero" }
    )
}

fn both_regular(analysis: &Analysis) -> String {
    let Some(saved) = analysis.saved() else { return String::new() };
    let steady = match analysis.answer {
        Answer::NoDifference => "",
        _ => {
            " About one run in twenty does so by chance; if it happens more often, the path is changing \
             over time."
        }
    };
    format!(
        "The medians of both sides differ by {} {}, {}.{steady}",
        time(saved.value),
        until(analysis.metric),
        interval(saved)
    )
}

fn inconclusive(analysis: &Analysis, reason: Inconclusive) -> String {
    match reason {
        Inconclusive::TooFewSamples => {
            if let Some(net) = analysis.net
                && analysis.has_enough()
            {
                return format!(
                    "There are too few samples for a path that varies like this one: the net expectation \
                     is {} per connection, {}. Measure more: `--pairs {}`.",
                    time(net.value),
                    interval(net),
                    analysis.regular.total * 10
                );
            }
            let main = analysis.main();
            let counts =
                main.map_or((0, 0), |main| (main.regular.sorted.len(), main.fast.sorted.len()));
            format!(
                "There are too few samples: {} and {} with fast open, of {}; {MIN_SAMPLES} of each are needed. Measure more: `--pairs 100`.",
                counted(counts.0, "regular connection", "regular connections"),
                counts.1,
                counted(analysis.regular.total, "pair", "pairs")
            )
        }
        Inconclusive::RttTooSmall => {
            let rtt = analysis.rtt.map_or_else(|| "unknown".to_owned(), time);
            format!(
                "The round trip time is {rtt}: there is no round trip to save. On loopback, and below \
                 {MIN_RTT} ms, the hosts' own time dominates. Compare over a real path, or in the lab: \
                 `tfo-client compare --lab`."
            )
        }
        Inconclusive::Drift => format!(
            "The path changed during the measurement: the second half of the regular connections took {} \
             {} than the first. Measure again, for longer or when the path is idle: `--pairs 1000`.",
            time(analysis.drift.unwrap_or_default().abs()),
            if analysis.drift.unwrap_or_default() > 0.0 { "longer" } else { "less" },
        ),
        Inconclusive::HitRateTooLow => {
            let hits = analysis.hit_rate;
            format!(
                "Only {} of {} attempts used fast open, less than {:.0} %: find the reason first.{}",
                hits.count,
                analysis.regular.total,
                MIN_HIT_RATE * 100.0,
                advice(analysis)
            )
        }
        Inconclusive::ClientDisabled => format!(
            "The client's bit (0x1) of net.ipv4.tcp_fastopen is off on this host, so all {} attempts were regular \
             connections. `tfo-client doctor --only client` prints the command that switches it on.",
            analysis.regular.total
        ),
    }
}

/// Returns what to examine if connections miss.
fn advice(analysis: &Analysis) -> String {
    analysis.misses.first().map_or_else(String::new, |miss| {
        let evidence = analysis.lab.as_deref().unwrap_or("`tfo-client -s HOST -n 5`");
        format!(
            " Most misses were {}: see `tfo-client explain {}`, and {evidence} for the evidence.",
            miss.word, miss.word
        )
    })
}

/// Returns the formula of the net expectation, with its numbers.
pub(super) fn expectation(analysis: &Analysis) -> Option<String> {
    let net = analysis.net?;
    let hits = analysis.used();
    let mut sum = match analysis.saved() {
        Some(saved) => format!("{} × {}", percent(hits), time(saved.value)),
        None => percent(hits),
    };
    if let Some(lost) = analysis.lost {
        sum += &format!(" − {} × {}", percent(1.0 - hits), time(lost));
    }
    if analysis.ordinary_loss >= 0.01 {
        sum += &format!(" + {} (regular connections lose it too)", time(analysis.ordinary_loss));
    }
    Some(format!("{sum} = {} per connection, {}", time(net.value), interval(net)))
}

pub(super) fn hit_rate(share: Share) -> String {
    format!(
        "{} of {} ({} to {})",
        share.count,
        share.total,
        percent(share.low),
        percent(share.high)
    )
}

pub(super) fn miss_words(miss: &Miss) -> String {
    let cost = if miss.cost < 0.0 {
        format!("{} less", time(-miss.cost))
    } else {
        format!("{} more", time(miss.cost))
    };
    let failed = if miss.failed { "; the program has to connect again" } else { "" };
    format!("{} × {}: {cost} than a regular connection{failed}", miss.count, miss.word)
}

/// Returns the name of a time, as a heading.
pub(super) const fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Handshake => "TLS handshake",
        Metric::FirstByte => "First byte",
        Metric::Reply => "Whole reply",
    }
}

const fn until(metric: Metric) -> &'static str {
    match metric {
        Metric::Handshake => "until the TLS handshake completes",
        Metric::FirstByte => "until the first byte of the reply",
        Metric::Reply => "until the reply is complete",
    }
}

pub(super) const fn side(side: Side, both_regular: bool) -> &'static str {
    match (side, both_regular) {
        (Side::Regular, _) => "regular",
        (Side::FastOpen, false) => "fast open",
        (Side::FastOpen, true) => "regular too",
    }
}

pub(super) fn interval(estimate: Estimate) -> String {
    let seconds = estimate.low.abs().max(estimate.high.abs()) >= 1000.0;
    let low = if seconds { time(estimate.low) } else { number(estimate.low) };
    format!("95 % interval {low} to {}", time(estimate.high))
}

/// Formats a quantile: "80.74 [80.65, 80.82]", with a question mark for a missing bound.
pub(super) fn quantile(quantile: Option<Quantile>) -> String {
    let Some(quantile) = quantile else { return "-".to_owned() };
    let bound = |bound: Option<f64>| bound.map_or_else(|| "?".to_owned(), number);
    format!("{} [{}, {}]", number(quantile.value), bound(quantile.low), bound(quantile.high))
}

pub(super) fn estimate(estimate: Option<Estimate>) -> String {
    quantile(estimate.map(|found| Quantile {
        value: found.value,
        low: Some(found.low),
        high: Some(found.high),
    }))
}

/// Formats milliseconds with a unit, as seconds from 1000 ms.
pub(super) fn time(ms: f64) -> String {
    if ms.abs() >= 1000.0 {
        format!("{:.2} s", ms / 1000.0).replace('-', "−")
    } else {
        format!("{} ms", number(ms))
    }
}

/// Formats milliseconds without a unit, with more digits for smaller values.
pub(super) fn number(ms: f64) -> String {
    let digits = match ms.abs() {
        small if small < 1.0 => 3,
        small if small < 100.0 => 2,
        large if large < 1000.0 => 1,
        _ => 0,
    };
    let text = format!("{ms:.digits$}");
    match text.strip_prefix('-') {
        // A value rounded to zero has no sign.
        Some(nothing) if nothing.chars().all(|c| "0.".contains(c)) => nothing.to_owned(),
        Some(size) => format!("−{size}"),
        None => text,
    }
}

/// Formats the milliseconds of a tick, without trailing zeros.
pub(super) fn tick(ms: f64) -> String {
    let text = number(ms);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.fract() < 1e-9 || percent >= 10.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// Returns the times to show, with their names. Those of the whole reply are left out if they equal those of the first
/// byte.
pub(super) fn distributions(analysis: &Analysis) -> Vec<(&'static str, &Distribution)> {
    let all = &analysis.distributions;
    let same = |one: &Distribution, other: &Distribution| {
        one.regular.sorted == other.regular.sorted && one.fast.sorted == other.fast.sorted
    };
    let of = |metric| all.iter().find(|distribution| distribution.metric == metric);
    let at_once = of(Metric::FirstByte).zip(of(Metric::Reply)).is_some_and(|(a, b)| same(a, b));
    let name = |metric| match metric {
        Metric::FirstByte if at_once => "First byte, and with it the whole reply",
        metric => metric_name(metric),
    };
    all.iter()
        .filter(|distribution| !(at_once && distribution.metric == Metric::Reply))
        .map(|distribution| (name(distribution.metric), distribution))
        .collect()
}

/// Returns the figures other than the times, with their names.
pub(super) fn figures(analysis: &Analysis) -> Vec<(&'static str, String)> {
    let mut figures = Vec::new();
    if let Some(rtt) = analysis.rtt {
        figures.push(("TCP's RTT", format!("{} (median of the handshakes)", time(rtt))));
    }
    if let Some(version) = analysis.tls {
        figures.push(("TLS version", version.to_owned()));
    }
    if !analysis.both_regular {
        figures.push(("Hit rate", hit_rate(analysis.hit_rate)));
        for miss in &analysis.misses {
            figures.push(("Misses", miss_words(miss)));
        }
        if let Some(expectation) = expectation(analysis) {
            figures.push((EXPECTATION, expectation));
        }
    }
    if analysis.regular.count < analysis.regular.total {
        figures.push(("Regular", format!("{} were established", hit_rate(analysis.regular))));
    }
    figures
}
