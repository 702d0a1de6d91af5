//! Formats metrics as a table for people.
//!
//! The metrics may come from a malicious server. Each sample is therefore processed a fixed number of times, and label
//! values are shown without control characters and truncated to [`WIDTH`], so that the size of the table is bounded by
//! a multiple of the input's.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tfo_core::cli::output::{escape_control, wrap};
use tfo_core::diagnosis::{HitRate, Outcome};
use tfo_core::host::Counters;

use super::collect;
use super::families::{Exposition, Family, exposition};
use super::parse::{Index, ListenerLabels, Sample, Samples, sum, sums_by};

/// Maximum number of characters shown of a label value. Addresses with ports are shorter.
const WIDTH: usize = 64;
/// Maximum number of columns of the lines below the table, except those with longer words.
const COLUMNS: usize = 80;

/// Formats the current metrics for people.
pub(crate) fn for_people(families: &[Family]) -> String {
    // Formatted and parsed as by `top`, so that both show the same.
    let samples = Samples::parse(&exposition(families, Exposition::OpenMetrics));
    samples.map(|samples| table(&samples, None)).unwrap_or_default()
}

/// Formats metrics, with rates if an earlier reading is given.
pub(crate) fn table(now: &Samples, before: Option<(&Samples, Duration)>) -> String {
    let now = now.index();
    let before = before.map(|(samples, elapsed)| (samples.index(), elapsed));
    let mut text = String::new();
    for line in head(&now) {
        text += &format!("{line}\n");
    }
    text += "\n";
    let mut rows = vec![columns(before.is_some())];
    let listeners = listeners(&now);
    rows.extend(listeners.iter().map(|listener| row(&now, before.as_ref(), *listener)));
    text += &aligned(&rows);
    text += "\n";
    for listener in &listeners {
        let details = details(&now, *listener);
        if listeners.len() > 1 && !details.is_empty() {
            text += &format!("{}\n", printable(listener.address));
        }
        for line in details {
            let wrapped = wrap(&line, COLUMNS - 4);
            text += &format!("  {}\n", wrapped.trim_end().replace('\n', "\n    "));
        }
    }
    text + &of_this_host(&now)
}

/// Returns what the kernel has counted, a line for each counter that is not zero.
fn of_this_host(now: &Index<'_>) -> String {
    let counters = Counters::default().iter().map(|(name, _)| {
        (total(now, &format!("{}_total", collect::kernel_name(name))), Counters::meaning(name))
    });
    let mut text = String::new();
    for (count, meaning) in counters.filter(|(count, _)| *count > 0.0) {
        if text.is_empty() {
            text += "counted by the kernel, for all programs of this host\n";
        }
        text += &format!("{:>9}  {meaning}\n", number(count));
    }
    text
}

/// Returns a label value on one line, without control characters, and truncated.
fn printable(text: &str) -> String {
    let mut printable = escape_control(text);
    if let Some((cut, _)) = printable.char_indices().nth(WIDTH) {
        printable.truncate(cut);
        printable.push('…');
    }
    printable
}

/// Returns the distinct listeners, in their order.
fn listeners<'a>(index: &Index<'a>) -> Vec<ListenerLabels<'a>> {
    let mut seen = HashSet::new();
    let accepted = index.named("tfo_server_accepted_total").iter();
    accepted
        .filter_map(|sample| sample.listener())
        .filter(|listener| seen.insert(*listener))
        .collect()
}

/// Returns the sum of all samples with this name.
fn total(index: &Index<'_>, name: &str) -> f64 {
    sum(index.named(name).iter().copied())
}

/// Returns the sum of the samples with this name and listener.
fn sum_of<'a>(index: &Index<'a>, name: &str, listener: ListenerLabels<'a>) -> f64 {
    sum(index.of_listener(name, listener).iter().copied())
}

fn head(now: &Index<'_>) -> Vec<String> {
    let value = |name| total(now, name);
    let state = if value("tfo_server_ready") > 0.0 { "serving" } else { "not accepting" };
    let versions = sums_by(now.named("tfo_server_build_info"), "version");
    let versions: Vec<_> = versions.into_keys().map(printable).collect();
    let mut lines = vec![
        format!(
            "tfo-server {}, {state}, {}, up {}",
            versions.join(" and "),
            counted(value("tfo_server_workers"), "worker"),
            span(value("tfo_server_uptime_seconds")),
        ),
        hits_of_all(now),
        format!(
            "{}, {} of {} descriptors",
            size(value("process_resident_memory_bytes")),
            number(value("process_open_fds")),
            number(value("process_max_fds")),
        ),
    ];
    let keys: Vec<_> = now
        .named("tfo_server_key_info")
        .iter()
        .map(|key| {
            format!("{} {}", printable(key.label("role")), printable(key.label("fingerprint")))
        })
        .collect();
    if !keys.is_empty() {
        lines.push(format!("keys: {}", keys.join(", ")));
    }
    let lost = [
        (total(now, "tfo_server_lines_lost_total"), "lines"),
        (total(now, "tfo_server_log_lines_lost_total"), "log lines"),
    ];
    let lost = lost.map(|(count, what)| (what.to_owned(), count));
    lines.extend(listed("lost", lost));
    lines
}

/// Returns the line that says whether connections use fast open.
fn hits_of_all(now: &Index<'_>) -> String {
    let (hits, tried) = hits(&sums_by(now.named("tfo_server_connections_total"), "verdict"));
    if tried > 0.0 {
        let connections = counted(tried, "connection");
        format!(
            "fast open: used by {} of {connections} that tried it, {}",
            number(hits),
            percent(hits, tried)
        )
    } else {
        "fast open: no connection has tried it".to_owned()
    }
}

/// Returns how many connections with these verdicts used fast open, and how many tried it.
fn hits(verdicts: &BTreeMap<&str, f64>) -> (f64, f64) {
    let sum = |hit: bool| {
        let outcomes =
            Outcome::ALL.iter().filter(|outcome| HitRate::is_hit(**outcome) == Some(hit));
        outcomes.filter_map(|outcome| verdicts.get(outcome.as_str())).sum::<f64>()
    };
    (sum(true), sum(true) + sum(false))
}

fn percent(hits: f64, tried: f64) -> String {
    if tried > 0.0 { format!("{:.1} %", hits * 100.0 / tried) } else { "-".to_owned() }
}

fn columns(rates: bool) -> Vec<String> {
    ["listener", "service", "open", "accepted"]
        .into_iter()
        .chain(rates.then_some("per second"))
        .chain(["hits", "in", "out"])
        .map(str::to_owned)
        .collect()
}

fn row<'a>(
    now: &Index<'a>,
    before: Option<&(Index<'a>, Duration)>,
    listener: ListenerLabels<'a>,
) -> Vec<String> {
    let value = |name: &str| sum_of(now, name, listener);
    let accepted = value("tfo_server_accepted_total");
    let rate = before.map(|(before, elapsed)| {
        let before = sum_of(before, "tfo_server_accepted_total", listener);
        number(((accepted - before).max(0.0) / elapsed.as_secs_f64().max(1e-3)).round())
    });
    let verdicts = sums_by(now.of_listener("tfo_server_connections_total", listener), "verdict");
    let (hits, tried) = hits(&verdicts);
    [printable(listener.address), printable(listener.service)]
        .into_iter()
        .chain([number(value("tfo_server_open_connections")), number(accepted)])
        .chain(rate)
        .chain([percent(hits, tried)])
        .chain(
            ["received", "sent"].map(|what| size(value(&format!("tfo_server_{what}_bytes_total")))),
        )
        .collect()
}

/// Returns the lines with verdicts, causes, SYN data, cookies, early closes, pauses, upstreams and durations, as far as there are any.
fn details<'a>(now: &Index<'a>, listener: ListenerLabels<'a>) -> Vec<String> {
    let grouped = |name: &str, label: &str| {
        let sums = sums_by(now.of_listener(name, listener), label).into_iter();
        let named = sums.filter(|(word, _)| !word.is_empty());
        named.map(|(word, count)| (printable(word), count)).collect::<Vec<_>>()
    };
    let times = [("handshake", "tfo_server_handshake"), ("service", "tfo_server_service")];
    let times = times.into_iter().filter_map(|(what, name)| {
        let buckets = Buckets::new(now.of_listener(&format!("{name}_seconds_bucket"), listener));
        let [median, p99] = [0.5, 0.99].map(|share| buckets.quantile(share));
        Some(format!("at most: {what} {} (p50), {} (p99)", median?, p99?))
    });
    let verdicts = grouped("tfo_server_connections_total", "verdict");
    let syn_data = sum_of(now, "tfo_server_syn_data_bytes_total", listener);
    [
        listed("verdicts", verdicts),
        listed("causes", grouped("tfo_server_connections_total", "cause")),
        (syn_data > 0.0).then(|| format!("data in SYNs: {}", size(syn_data))),
        listed("cookies by key", grouped("tfo_server_cookies_total", "origin")),
        listed("cut short", grouped("tfo_server_cut_short_total", "reason")),
        listed("accepting paused", grouped("tfo_server_accept_pauses_total", "reason")),
        upstreams(now, listener.address),
    ]
    .into_iter()
    .flatten()
    .chain(times)
    .collect()
}

/// Returns the line with the upstreams of a listener.
fn upstreams<'a>(now: &Index<'a>, address: &'a str) -> Option<String> {
    let of = |what: &str| {
        let name = format!("tfo_server_upstream_{what}");
        sums_by(now.of_listener(&name, ListenerLabels { address, service: "" }), "upstream")
    };
    let [up, open, all, failed] =
        ["up", "open_connections", "connections_total", "failures_total"].map(of);
    let one = |(upstream, up): (&&str, &f64)| {
        let of = |sums: &BTreeMap<&str, f64>| sums.get(upstream).copied().unwrap_or(0.0);
        let state = if *up > 0.0 { "up" } else { "DOWN" };
        let failures = match of(&failed) {
            0.0 => String::new(),
            failures => format!(", {} failed", number(failures)),
        };
        let (open, all) = (number(of(&open)), number(of(&all)));
        format!("{} {state} ({open} open of {all}{failures})", printable(upstream))
    };
    let each: Vec<_> = up.iter().map(one).collect();
    (!each.is_empty()).then(|| format!("upstreams: {}", each.join(", ")))
}

/// Returns `what: 3 this, 1 that`, without zeros. Returns `None` if all counts are zero.
fn listed(what: &str, counts: impl IntoIterator<Item = (String, f64)>) -> Option<String> {
    let nonzero: Vec<_> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0.0)
        .map(|(word, count)| format!("{} {word}", number(count)))
        .collect();
    (!nonzero.is_empty()).then(|| format!("{what}: {}", nonzero.join(", ")))
}

/// A histogram: upper bounds of buckets with cumulative counts.
struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    fn new(samples: &[&Sample]) -> Self {
        let bucket = |sample: &&Sample| Some((sample.label("le").parse().ok()?, sample.value));
        let mut buckets: Vec<(f64, f64)> = samples.iter().filter_map(bucket).collect();
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Self(buckets)
    }

    /// Returns the upper bound of the bucket that contains the quantile.
    fn quantile(&self, share: f64) -> Option<String> {
        let (_, all) = *self.0.last().filter(|(_, all)| *all > 0.0)?;
        let (end, _) = self.0.iter().find(|(_, count)| *count >= share * all)?;
        Some(if end.is_finite() { time(*end) } else { "over a minute".to_owned() })
    }
}

/// Formats a number with few characters: in scientific notation if it is very large or small.
fn number(value: f64) -> String {
    const LONG: usize = 20;
    let text = value.to_string();
    if text.len() <= LONG { text } else { format!("{value:e}") }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{} µs", (s * 1e6).round()),
        s if s < 1.0 => format!("{} ms", (s * 1e5).round() / 100.0),
        s => format!("{} s", number(s)),
    }
}

fn span(seconds: f64) -> String {
    let (minutes, seconds) = ((seconds / 60.0).floor(), (seconds % 60.0).floor());
    let (hours, minutes) = ((minutes / 60.0).floor(), minutes % 60.0);
    match (hours > 0.0, minutes > 0.0) {
        (true, _) => format!("{} h {minutes} min", number(hours)),
        (false, true) => format!("{minutes} min {seconds} s"),
        (false, false) => format!("{seconds} s"),
    }
}

fn size(bytes: f64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "B" => format!("{} B", number(value)),
        _ if value < 1e6 => format!("{value:.1} {unit}"),
        _ => format!("{value:e} {unit}"),
    }
}

fn counted(count: f64, noun: &str) -> String {
    let end = if (count - 1.0).abs() < f64::EPSILON { "" } else { "s" };
    format!("{} {noun}{end}", number(count))
}

/// Aligns text to the left and numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 | 1 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text += &format!("{}\n", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
tfo_server_build_info{version="0.1.0"} 1
tfo_server_ready 1
tfo_server_workers 2
tfo_server_uptime_seconds 3725
process_resident_memory_bytes 8388608
process_open_fds 12
process_max_fds 1024
tfo_server_key_info{role="primary",fingerprint="1a2b3c4d"} 1
tfo_server_accepted_total{listener="127.0.0.1:80",service="respond"} 30
tfo_server_open_connections{listener="127.0.0.1:80",service="respond"} 2
tfo_server_connections_total{listener="127.0.0.1:80",service="respond",verdict="fast-open",cause=""} 27
tfo_server_connections_total{listener="127.0.0.1:80",service="respond",verdict="fallback",cause="queue-full"} 3
tfo_server_syn_data_bytes_total{listener="127.0.0.1:80",service="respond"} 2048
tfo_server_accepted_total{listener="[::]:2222",service="mirror"} 0
tfo_server_cut_short_total{listener="127.0.0.1:80",service="respond",reason="reset"} 1
tfo_server_cut_short_total{listener="127.0.0.1:80",service="respond",reason="error"} 0
tfo_server_service_seconds_bucket{listener="127.0.0.1:80",service="respond",le="0.00025"} 28
tfo_server_service_seconds_bucket{listener="127.0.0.1:80",service="respond",le="0.0025"} 30
tfo_server_service_seconds_bucket{listener="127.0.0.1:80",service="respond",le="+Inf"} 30
tfo_kernel_fast_open_passive_total 27
tfo_kernel_syn_retrans_total 0
# EOF
"#;

    #[test]
    fn each_listener_has_a_row_and_zeros_have_no_line() {
        let now = Samples::parse(TEXT).unwrap();
        let expected = "\
tfo-server 0.1.0, serving, 2 workers, up 1 h 2 min
fast open: used by 27 of 30 connections that tried it, 90.0 %
8.0 MiB, 12 of 1024 descriptors
keys: primary 1a2b3c4d

listener      service  open  accepted    hits   in  out
127.0.0.1:80  respond     2        30  90.0 %  0 B  0 B
[::]:2222     mirror      0         0       -  0 B  0 B

127.0.0.1:80
  verdicts: 3 fallback, 27 fast-open
  causes: 3 queue-full
  data in SYNs: 2.0 KiB
  cut short: 1 reset
  at most: service 250 µs (p50), 2.5 ms (p99)
counted by the kernel, for all programs of this host
       27  incoming, valid SYN, with or without data
";
        assert_eq!(table(&now, None), expected);
    }

    #[test]
    fn earlier_reading_adds_rates() {
        let now = Samples::parse(TEXT).unwrap();
        let earlier = TEXT.replace("} 30\n", "} 10\n");
        let before = Samples::parse(&earlier).unwrap();
        let text = table(&now, Some((&before, Duration::from_secs(2))));
        let row = text.lines().find(|line| line.starts_with("127.0.0.1:80  ")).unwrap();
        assert_eq!(row.split_ascii_whitespace().nth(4), Some("10"), "{text}");
    }

    #[test]
    fn malicious_server_cannot_control_the_terminal() {
        let text = TEXT.replace("0.1.0", "\x1b[31m");
        assert!(!table(&Samples::parse(&text).unwrap(), None).contains('\x1b'));
    }

    #[test]
    fn malicious_server_cannot_forge_lines_in_any_field() {
        for honest in
            ["0.1.0", "1a2b3c4d", "primary", "127.0.0.1:80", "respond", "queue-full", "\"reset"]
        {
            let lie = format!("{honest}\x1b[2J\u{9b}31m\\nforged");
            let text = TEXT.replace(honest, &lie);
            let shown = table(&Samples::parse(&text).unwrap(), None);
            let control = |c: char| c.is_control() && c != '\n';
            assert!(!shown.contains(control), "{honest}: {shown:?}");
            assert!(!shown.lines().any(|line| line.starts_with("forged")), "{honest}: {shown}");
            assert!(shown.contains(r"\u{1b}[2J"), "{honest}: {shown}");
        }
    }

    #[test]
    fn table_of_a_malicious_server_has_bounded_size() {
        let long = "x".repeat(100_000);
        let mut text = TEXT.to_owned();
        for number in 0..2000 {
            text += &format!(
                "tfo_server_accepted_total{{listener=\"{number}\",service=\"{number}\"}} 1e308\n"
            );
        }
        text += &format!("tfo_server_accepted_total{{listener=\"{long}\",service=\"a\"}} 1e-308\n");
        let shown = table(&Samples::parse(&text).unwrap(), None);
        assert!(shown.len() < 10 * text.len(), "{} of {}", shown.len(), text.len());
        assert!(shown.lines().all(|line| line.chars().count() < 400), "{shown}");
    }
}
