//! What a comparison amounts to, in sentences; every report takes its words from here.

use crate::compare::analysis::{
    Analysis, Answer, Distribution, Inconclusive, LEAST_HIT_RATE, LEAST_RTT, LEAST_SAMPLES, Miss,
    Summary,
};
use crate::compare::sample::{Metric, Side};
use crate::compare::statistics::{Estimate, Quantile, Share};

/// A quantile of a sample.
type Tail = fn(&Summary) -> Option<Quantile>;
/// The quantiles beside the median, with their names.
pub(super) const TAILS: [(&str, Tail); 2] =
    [("p90", |summary| summary.p90), ("p99", |summary| summary.p99)];

/// The answer in a few words.
pub(super) fn headline(analysis: &Analysis) -> &'static str {
    if analysis.both_regular {
        return match analysis.answer {
            Answer::On | Answer::Off => "They differ, although both are regular.",
            Answer::NoDifference => "No difference, as it must be.",
            Answer::Unknown(_) => "No answer.",
        };
    }
    match analysis.answer {
        Answer::On => "Turn it on.",
        Answer::Off => "Leave it off.",
        Answer::NoDifference => "It makes no difference here.",
        Answer::Unknown(_) => "No answer.",
    }
}

/// Why: sentences.
pub(super) fn reason(analysis: &Analysis) -> String {
    match &analysis.answer {
        Answer::Unknown(doubt) => doubted(analysis, *doubt),
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
        format!("All {all} connections that were to use it did.")
    } else {
        format!("{} of {all} connections that were to use it did.", hits.count)
    };
    format!("Fast open saves {} {}{trips}. {used}", time(saved.value), until(analysis.metric))
}

/// What to expect where some connections miss.
fn net(analysis: &Analysis) -> String {
    match analysis.net {
        Some(net) if !analysis.misses.is_empty() => format!(
            " With what the others cost, a connection gains {} on average.",
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
            "Connections with fast open are slower here: by {} {}.",
            time(net),
            until(analysis.metric)
        );
    };
    format!(
        "Trying fast open costs {} a connection on average: {} of {} used it, and {} ended as {}, which \
         takes {} longer than a regular connection{}.",
        time(net),
        hits.count,
        analysis.regular.total,
        miss.count,
        miss.word,
        time(miss.cost),
        if miss.failed { ": it fails, and a program must connect again" } else { "" },
    )
}

fn no_difference(analysis: &Analysis) -> String {
    let Some(net) = analysis.net else { return String::new() };
    format!(
        "The net expectation is {} a connection, {}: {}.",
        time(net.value),
        interval(net),
        if net.differs_from_zero() { "too little to notice" } else { "it may as well be nothing" }
    )
}

fn both_regular(analysis: &Analysis) -> String {
    let Some(saved) = analysis.saved() else { return String::new() };
    let steady = match analysis.answer {
        Answer::NoDifference => "",
        _ => " One run in twenty does by chance; more, and something here changes with time.",
    };
    format!(
        "The medians of both sides differ by {} {}, {}.{steady}",
        time(saved.value),
        until(analysis.metric),
        interval(saved)
    )
}

fn doubted(analysis: &Analysis, doubt: Inconclusive) -> String {
    match doubt {
        Inconclusive::TooFewSamples => {
            if let Some(net) = analysis.net
                && analysis.has_enough()
            {
                return format!(
                    "There are too few samples for a path like this: the net expectation is {} a \
                     connection, {}. Measure more: `--pairs {}`.",
                    time(net.value),
                    interval(net),
                    analysis.regular.total * 10
                );
            }
            let main = analysis.main();
            let counts =
                main.map_or((0, 0), |main| (main.regular.sorted.len(), main.fast.sorted.len()));
            format!(
                "There are too few samples: {} regular connections and {} with fast open, of {} pairs; it \
                 takes {LEAST_SAMPLES} of each. Measure more: `--pairs 100`.",
                counts.0, counts.1, analysis.regular.total
            )
        }
        Inconclusive::RttTooSmall => {
            let rtt = analysis.rtt.map_or_else(|| "unknown".to_owned(), time);
            format!(
                "The round trip time is {rtt}: there is none to save. On loopback, and below \
                 {LEAST_RTT} ms, the times are those of the hosts. Compare over a real path, or in the lab: \
                 `tfo-client compare --lab`."
            )
        }
        Inconclusive::Drift => format!(
            "The path changed while it was measured: the second half of the regular connections took {} \
             {} than the first. Measure again, longer or when it is quiet: `--pairs 1000`.",
            time(analysis.drift.unwrap_or_default().abs()),
            if analysis.drift.unwrap_or_default() > 0.0 { "longer" } else { "less" },
        ),
        Inconclusive::HitRateTooLow => {
            let hits = analysis.hit_rate;
            format!(
                "Fast open was used by {} of {} connections, which is less than {:.0} %: find out why first.{}",
                hits.count,
                analysis.regular.total,
                LEAST_HIT_RATE * 100.0,
                advice(analysis)
            )
        }
        Inconclusive::ClientDisabled => format!(
            "The client's bit (0x1) of net.ipv4.tcp_fastopen is off on this host, so all {} connections that were \
             to use fast open were regular ones. How to switch it on here: `tfo-client doctor --only client`.",
            analysis.regular.total
        ),
    }
}

/// What to look at, where connections miss.
fn advice(analysis: &Analysis) -> String {
    analysis.misses.first().map_or_else(String::new, |miss| {
        let evidence = analysis.lab.as_deref().unwrap_or("`tfo-client -s HOST -n 5`");
        format!(
            " Most of the others were {}: `tfo-client explain {}`, and {evidence} for the evidence.",
            miss.word, miss.word
        )
    })
}

/// The sum behind the net expectation.
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
        sum += &format!(" + {} (regular ones lose that too)", time(analysis.ordinary_loss));
    }
    Some(format!("{sum} = {} a connection, {}", time(net.value), interval(net)))
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
    let failed = if miss.failed { "; a program must connect again" } else { "" };
    format!("{} × {}: {cost} than a regular connection{failed}", miss.count, miss.word)
}

/// The name of a time, as a heading.
pub(super) const fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Handshake => "TLS handshake",
        Metric::FirstByte => "First byte",
        Metric::Reply => "Whole reply",
    }
}

const fn until(metric: Metric) -> &'static str {
    match metric {
        Metric::Handshake => "until the TLS handshake ends",
        Metric::FirstByte => "until the first byte of the reply",
        Metric::Reply => "until the reply is whole",
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

/// "80.74 [80.65, 80.82]"; a question mark where the sample gives no bound.
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

/// Milliseconds, with their unit; seconds where that is easier to read.
pub(super) fn time(ms: f64) -> String {
    if ms.abs() >= 1000.0 {
        format!("{:.2} s", ms / 1000.0).replace('-', "−")
    } else {
        format!("{} ms", number(ms))
    }
}

/// Milliseconds, as exact as it makes sense.
pub(super) fn number(ms: f64) -> String {
    let digits = match ms.abs() {
        small if small < 1.0 => 3,
        small if small < 100.0 => 2,
        large if large < 1000.0 => 1,
        _ => 0,
    };
    let text = format!("{ms:.digits$}");
    match text.strip_prefix('-') {
        // What is rounded to nothing has no sign.
        Some(nothing) if nothing.chars().all(|c| "0.".contains(c)) => nothing.to_owned(),
        Some(size) => format!("−{size}"),
        None => text,
    }
}

/// Milliseconds without needless zeros, below a picture.
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

/// The times to show, with their names: those of the whole reply only where it came in pieces.
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

/// The figures beside the times, with their names.
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
            figures.push(("Expectation", expectation));
        }
    }
    if analysis.regular.count < analysis.regular.total {
        figures.push(("Regular", format!("{} came about", hit_rate(analysis.regular))));
    }
    figures
}
