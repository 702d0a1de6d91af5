//! Metrics for people.

use std::time::Duration;

use tfo_core::diagnosis::Outcome;
use tfo_core::program::output::printable;

use super::Samples;

/// What the server has counted and, with an earlier reading, how fast.
pub(crate) fn table(now: &Samples, before: Option<(&Samples, Duration)>) -> String {
    let mut text = String::new();
    for line in head(now) {
        text += &format!("{line}\n");
    }
    text += "\n";
    let mut rows = vec![columns(before.is_some())];
    let listeners = listeners(now);
    rows.extend(listeners.iter().map(|listener| row(now, before, listener)));
    text += &aligned(&rows);
    text += "\n";
    for listener in &listeners {
        let name =
            if listeners.len() > 1 { format!("{}: ", listener.address) } else { String::new() };
        for line in details(now, listener) {
            text += &format!("{name}{line}\n");
        }
    }
    let kernel = now.names().filter_map(|name| {
        let short = name.strip_prefix("tfo_kernel_")?.strip_suffix("_total")?;
        Some((short.replace('_', " "), now.sum(name, &[])))
    });
    text += &listed("this host", kernel).map(|line| line + "\n").unwrap_or_default();
    // What comes from afar must not steer a terminal.
    text.lines().map(|line| printable(line) + "\n").collect()
}

struct Listener<'a> {
    address: &'a str,
    service: &'a str,
}

impl<'a> Listener<'a> {
    fn labels(&self) -> [(&'static str, &'a str); 2] {
        [("listener", self.address), ("service", self.service)]
    }
}

fn listeners(samples: &Samples) -> Vec<Listener<'_>> {
    samples
        .each("tfo_server_accepted_total", &[])
        .map(|(label, _)| Listener { address: label("listener"), service: label("service") })
        .collect()
}

fn head(now: &Samples) -> Vec<String> {
    let number = |name| now.sum(name, &[]);
    let state = if number("tfo_server_ready") > 0.0 { "serving" } else { "not accepting" };
    let mut facts = vec![format!(
        "tfo-server {}, {state}, {}",
        now.values("tfo_server_build_info", "version").join(" and "),
        counted(number("tfo_server_workers"), "worker"),
    )];
    facts.push(format!("up {}", span(number("tfo_server_uptime_seconds"))));
    facts.push(size(number("process_resident_memory_bytes")));
    facts.push(format!(
        "{} of {} descriptors",
        number("process_open_fds"),
        number("process_max_fds")
    ));
    let keys: Vec<_> = now
        .each("tfo_server_key_info", &[])
        .map(|(label, _)| format!("{} {}", label("role"), label("fingerprint")))
        .collect();
    let mut lines = vec![facts.join(", ")];
    if !keys.is_empty() {
        lines.push(format!("keys: {}", keys.join(", ")));
    }
    lines
}

fn columns(rates: bool) -> Vec<String> {
    let verdicts = Outcome::ALL.iter().map(|outcome| outcome.as_str());
    ["listener", "service", "open", "accepted"]
        .into_iter()
        .chain(rates.then_some("a second"))
        .chain(verdicts)
        .chain(["hits", "in SYNs", "in", "out"])
        .map(str::to_owned)
        .collect()
}

fn row(
    now: &Samples,
    before: Option<(&Samples, Duration)>,
    listener: &Listener<'_>,
) -> Vec<String> {
    let labels = listener.labels();
    let number = |name: &str| now.sum(name, &labels);
    let verdict = |outcome: Outcome| {
        let [address, service] = labels;
        let labels = [address, service, ("verdict", outcome.as_str())];
        now.sum("tfo_server_connections_total", &labels)
    };
    let accepted = number("tfo_server_accepted_total");
    let rate = before.map(|(before, elapsed)| {
        let before = before.sum("tfo_server_accepted_total", &labels);
        format!("{:.0}", (accepted - before).max(0.0) / elapsed.as_secs_f64().max(1e-3))
    });
    let judged: f64 = Outcome::ALL.iter().map(|outcome| verdict(*outcome)).sum();
    let hits = if judged > 0.0 {
        format!("{:.1} %", verdict(Outcome::FastOpen) * 100.0 / judged)
    } else {
        "-".to_owned()
    };
    [listener.address.to_owned(), listener.service.to_owned()]
        .into_iter()
        .chain([number("tfo_server_open_connections").to_string(), accepted.to_string()])
        .chain(rate)
        .chain(Outcome::ALL.iter().map(|outcome| verdict(*outcome).to_string()))
        .chain([hits])
        .chain(
            ["syn_data", "received", "sent"]
                .map(|what| size(number(&format!("tfo_server_{what}_bytes_total")))),
        )
        .collect()
}

/// What is worth a line: causes, cookies, what was cut short or refused, times.
fn details(now: &Samples, listener: &Listener<'_>) -> Vec<String> {
    let labels = listener.labels();
    let grouped = |name: &str, label: &str| {
        now.values(name, label)
            .into_iter()
            .filter(|value| !value.is_empty())
            .map(|value| {
                let [address, service] = labels;
                (value.to_owned(), now.sum(name, &[address, service, (label, value)]))
            })
            .collect::<Vec<_>>()
    };
    let times = [("handshake", "tfo_server_handshake"), ("service", "tfo_server_service")];
    let times: Vec<_> = times
        .into_iter()
        .filter_map(|(what, name)| {
            let name = format!("{name}_seconds_bucket");
            let [half, most] = [0.5, 0.99].map(|share| quantile(now, &name, labels, share));
            Some(format!("{what} {} (p50), {} (p99)", half?, most?))
        })
        .collect();
    [
        listed("causes", grouped("tfo_server_connections_total", "cause")),
        listed("cookies by key", grouped("tfo_server_cookies_total", "origin")),
        listed("cut short", grouped("tfo_server_cut_short_total", "reason")),
        listed("accepting paused", grouped("tfo_server_accept_pauses_total", "reason")),
        upstreams(now, listener),
        (!times.is_empty()).then(|| format!("at most: {}", times.join("; "))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Where it forwards to, and how that goes.
fn upstreams(now: &Samples, listener: &Listener<'_>) -> Option<String> {
    let [address, _] = listener.labels();
    let of = |upstream: &str| {
        let sum = |what: &str| {
            let name = format!("tfo_server_upstream_{what}");
            now.sum(&name, &[address, ("upstream", upstream)])
        };
        let state = if sum("up") > 0.0 { "up" } else { "DOWN" };
        let failures = match sum("failures_total") {
            0.0 => String::new(),
            failures => format!(", {failures} failed"),
        };
        let (open, all) = (sum("open_connections"), sum("connections_total"));
        format!("{upstream} {state} ({open} open of {all}{failures})")
    };
    let all: Vec<_> = now
        .each("tfo_server_upstream_up", &[address])
        .map(|(label, _)| of(label("upstream")))
        .collect();
    (!all.is_empty()).then(|| format!("upstreams: {}", all.join(", ")))
}

/// `what: 3 this, 1 that`, of what there is.
fn listed(what: &str, counts: impl IntoIterator<Item = (String, f64)>) -> Option<String> {
    let there: Vec<_> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0.0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    (!there.is_empty()).then(|| format!("{what}: {}", there.join(", ")))
}

/// The end of the bucket that holds this share of all.
fn quantile(now: &Samples, name: &str, labels: [(&str, &str); 2], share: f64) -> Option<String> {
    let mut buckets: Vec<(f64, f64)> = now
        .each(name, &labels)
        .filter_map(|(label, count)| Some((label("le").parse().ok()?, count)))
        .collect();
    buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (_, all) = *buckets.last().filter(|(_, all)| *all > 0.0)?;
    let (end, _) = buckets.into_iter().find(|(_, count)| *count >= share * all)?;
    Some(if end.is_finite() { time(end) } else { "over a minute".to_owned() })
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{} µs", (s * 1e6).round()),
        s if s < 1.0 => format!("{} ms", (s * 1e5).round() / 100.0),
        s => format!("{s} s"),
    }
}

fn span(seconds: f64) -> String {
    let (minutes, seconds) = ((seconds / 60.0).floor(), (seconds % 60.0).floor());
    let (hours, minutes) = ((minutes / 60.0).floor(), minutes % 60.0);
    match (hours > 0.0, minutes > 0.0) {
        (true, _) => format!("{hours} h {minutes} min"),
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
    if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") }
}

fn counted(count: f64, noun: &str) -> String {
    let end = if (count - 1.0).abs() < f64::EPSILON { "" } else { "s" };
    format!("{count} {noun}{end}")
}

/// Text to the left, numbers to the right.
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
    fn a_listener_is_a_row_and_what_is_zero_has_no_line() {
        let now = Samples::parse(TEXT).unwrap();
        let expected = "\
tfo-server 0.1.0, serving, 2 workers, up 1 h 2 min, 8.0 MiB, 12 of 1024 descriptors
keys: primary 1a2b3c4d

listener      service  open  accepted  fast-open  cookie-granted  fallback  not-attempted  failed    hits  in SYNs   in  out
127.0.0.1:80  respond     2        30         27               0         3              0       0  90.0 %  2.0 KiB  0 B  0 B
[::]:2222     mirror      0         0          0               0         0              0       0       -      0 B  0 B  0 B

127.0.0.1:80: causes: 3 queue-full
127.0.0.1:80: cut short: 1 reset
127.0.0.1:80: at most: service 250 µs (p50), 2.5 ms (p99)
this host: 27 fast open passive
";
        assert_eq!(table(&now, None), expected);
    }

    #[test]
    fn an_earlier_reading_gives_rates() {
        let now = Samples::parse(TEXT).unwrap();
        let earlier = TEXT.replace("} 30\n", "} 10\n");
        let before = Samples::parse(&earlier).unwrap();
        let text = table(&now, Some((&before, Duration::from_secs(2))));
        let row = text.lines().find(|line| line.starts_with("127.0.0.1:80  ")).unwrap();
        assert_eq!(row.split_ascii_whitespace().nth(4), Some("10"), "{text}");
    }

    #[test]
    fn a_server_that_lies_cannot_steer_a_terminal() {
        let text = TEXT.replace("0.1.0", "\x1b[31m");
        assert!(!table(&Samples::parse(&text).unwrap(), None).contains('\x1b'));
    }
}
