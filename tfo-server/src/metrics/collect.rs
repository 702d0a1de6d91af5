//! Creates the metric families from the counters of this process and of the kernel.

use std::fmt::Display;
use std::net::SocketAddr;

use tfo_core::diagnosis::Outcome;
use tfo_core::host::Counters;

use super::families::{Family, Labels};
use super::stats::{BUCKETS, Count, Histogram, ListenerTotals, OriginLabel, Timing};
use super::usage::Usage;
use crate::arrival::ArrivalVerdict;
use crate::close_reason::CloseKind;
use crate::config::values::ServiceKind;

/// Returns the labels of a listener's metrics.
pub(crate) fn labels(address: SocketAddr, service: ServiceKind) -> Labels {
    vec![("listener", address.to_string()), ("service", service.to_string())]
}

/// Returns the families of the listeners' counters.
pub(crate) fn of_listeners(listeners: &[ListenerTotals]) -> Vec<Family> {
    // Returns a family with one value per listener.
    let per_listener = |mut family: Family, value: &dyn Fn(&ListenerTotals) -> u64| {
        for listener in listeners {
            family.add(labels(listener.address, listener.service), value(listener));
        }
        family
    };
    let counter = |name: &str, help: &str, count: Count| {
        per_listener(Family::counter(name, help), &|listener| listener.totals.get(count))
    };
    let by_label = |name: &str, help: &str, values: &[LabelledCount]| {
        let mut family = Family::counter(name, help);
        for listener in listeners {
            for LabelledCount { count, labels: own, shows_zero } in values {
                let value = listener.totals.get(*count);
                if value > 0 || *shows_zero {
                    let mut labels = labels(listener.address, listener.service);
                    labels.extend(own.iter().cloned());
                    family.add(labels, value);
                }
            }
        }
        family
    };
    vec![
        counter("tfo_server_accepted", "Accepted connections.", Count::Accepted),
        counter("tfo_server_closed", "Closed connections.", Count::Closed),
        per_listener(
            Family::gauge("tfo_server_open_connections", "Open connections."),
            &|listener| listener.totals.open(),
        ),
        by_label(
            "tfo_server_connections",
            "Accepted connections, by verdict on fast open.",
            &verdicts(),
        ),
        counter("tfo_server_syn_data_bytes", "Bytes received in SYNs.", Count::SynBytes),
        counter("tfo_server_received_bytes", "Bytes received.", Count::BytesIn),
        counter("tfo_server_sent_bytes", "Bytes sent.", Count::BytesOut),
        by_label(
            "tfo_server_cookies",
            "Received cookies, by the key that generated them.",
            &cookies(),
        ),
        by_label("tfo_server_cut_short", "Connections closed early, by reason.", &close_reasons()),
        by_label(
            "tfo_server_accept_pauses",
            "How often accepting was paused, by reason.",
            &pauses(),
        ),
        histogram(
            listeners,
            Timing::Handshake,
            Family::histogram(
                "tfo_server_handshake_seconds",
                "Round trip of the handshake, for connections that were complete when accepted.",
            ),
        ),
        histogram(
            listeners,
            Timing::Service,
            Family::histogram(
                "tfo_server_service_seconds",
                "Time from accepting a connection to its end.",
            ),
        ),
    ]
}

/// A counter of a family, with the labels that distinguish it.
struct LabelledCount {
    count: Count,
    labels: Labels,
    /// Also shown while it is 0.
    shows_zero: bool,
}

fn verdicts() -> Vec<LabelledCount> {
    let one = |verdict| {
        let (outcome, cause) = match verdict {
            ArrivalVerdict::Is(outcome, cause) => {
                (outcome.as_str(), cause.map_or("", |cause| cause.as_str()))
            }
            ArrivalVerdict::Unknown => ("unknown", ""),
            ArrivalVerdict::NotLookedAt => ("not-looked-at", ""),
        };
        let usual = [Outcome::FastOpen, Outcome::CookieGranted, Outcome::NotAttempted];
        LabelledCount {
            count: Count::Verdict(verdict),
            labels: vec![("verdict", outcome.to_owned()), ("cause", cause.to_owned())],
            shows_zero: usual.iter().any(|usual| verdict == ArrivalVerdict::Is(*usual, None)),
        }
    };
    Count::verdicts().map(one).collect()
}

fn cookies() -> Vec<LabelledCount> {
    let one = |origin: OriginLabel| LabelledCount {
        count: Count::Cookie(origin),
        labels: vec![("origin", origin.as_str().to_owned())],
        shows_zero: true,
    };
    OriginLabel::ALL.map(one).into()
}

fn close_reasons() -> Vec<LabelledCount> {
    let one = |kind: CloseKind| LabelledCount {
        count: Count::CutShort(kind),
        labels: vec![("reason", kind.as_str().to_owned())],
        shows_zero: false,
    };
    CloseKind::ALL.map(one).into()
}

fn pauses() -> Vec<LabelledCount> {
    let pauses =
        [(Count::PausedByLimit, "limits.connections"), (Count::PausedByDescriptors, "descriptors")];
    let one = |(count, reason): (Count, &str)| LabelledCount {
        count,
        labels: vec![("reason", reason.to_owned())],
        shows_zero: true,
    };
    pauses.map(one).into()
}

fn histogram(listeners: &[ListenerTotals], timing: Timing, mut family: Family) -> Family {
    for listener in listeners {
        let Histogram { cumulative, count, sum } = listener.totals.histogram(timing);
        let buckets = BUCKETS.iter().map(|(_, end)| *end).zip(cumulative);
        let labels = labels(listener.address, listener.service);
        family.add_histogram(&labels, buckets, count, sum.as_secs_f64());
    }
    family
}

/// Returns the counters of the network namespace, which cover all of its programs.
pub(crate) fn kernel() -> Vec<Family> {
    let counters = match Counters::read() {
        Ok(counters) => counters,
        Err(e) => {
            log::debug!("can't read the kernel's counters: {e}");
            return Vec::new();
        }
    };
    let family = |(name, value): (&'static str, u64)| {
        let meaning = Counters::meaning(name);
        let help =
            format!("{name} from /proc/net/netstat, for all programs of this host: {meaning}.");
        Family::counter(kernel_name(name), help).with(vec![], value)
    };
    counters.iter().map(family).collect()
}

/// Returns the name of the family for a counter of the kernel.
pub(super) fn kernel_name(counter: &str) -> String {
    format!("tfo_kernel_{}", snake_case(counter))
}

/// Converts `TCPFastOpenPassive` to `fast_open_passive`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.strip_prefix("TCP").unwrap_or(name).chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// Returns this process's resource usage, under the names that all exporters use.
pub(crate) fn process() -> Vec<Family> {
    fn with(mut family: Family, value: Option<impl Display>) -> Family {
        if let Some(value) = value {
            family.add(vec![], value);
        }
        family
    }
    let usage = Usage::read();
    vec![
        with(
            Family::gauge("process_resident_memory_bytes", "Resident memory."),
            usage.resident_bytes,
        ),
        with(Family::gauge("process_open_fds", "Open file descriptors."), usage.descriptors),
        with(
            Family::gauge("process_max_fds", "Maximum number of open file descriptors."),
            usage.max_descriptors,
        ),
        with(
            Family::counter("process_cpu_seconds", "CPU time of the threads."),
            usage.cpu.map(|time| time.as_secs_f64()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::{Exposition, exposition};
    use crate::metrics::parse::Samples;
    use crate::metrics::stats::Registry;

    #[test]
    fn kernel_counter_names_become_prometheus_names() {
        let names: Vec<_> = Counters::default().iter().map(|(name, _)| snake_case(name)).collect();
        assert_eq!(names[0], "fast_open_active");
        assert!(names.contains(&"fast_open_passive_alt_key".to_owned()), "{names:?}");
        assert!(names.contains(&"syn_retrans".to_owned()), "{names:?}");
    }

    #[test]
    fn each_listener_has_its_own_values() {
        let registry = Registry::default();
        let [one, two] = [80, 81].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let cause = Some(tfo_core::diagnosis::Cause::QueueFull);
        let stats = registry.stats(one, ServiceKind::Echo, 1);
        stats[0].add(Count::Accepted, 3);
        stats[0].add(Count::Verdict(ArrivalVerdict::Is(Outcome::FastOpen, None)), 2);
        stats[0].add(Count::Verdict(ArrivalVerdict::Is(Outcome::Fallback, cause)), 1);
        registry.stats(two, ServiceKind::Mirror, 1)[0].add(Count::Accepted, 5);
        let text = exposition(&of_listeners(&registry.totals()), Exposition::OpenMetrics);
        for line in [
            "tfo_server_accepted_total{listener=\"127.0.0.1:80\",service=\"echo\"} 3",
            "tfo_server_accepted_total{listener=\"127.0.0.1:81\",service=\"mirror\"} 5",
            "tfo_server_connections_total{listener=\"127.0.0.1:80\",service=\"echo\",\
             verdict=\"fast-open\",cause=\"\"} 2",
            "tfo_server_connections_total{listener=\"127.0.0.1:80\",service=\"echo\",\
             verdict=\"fallback\",cause=\"queue-full\"} 1",
            "tfo_server_connections_total{listener=\"127.0.0.1:81\",service=\"mirror\",\
             verdict=\"fast-open\",cause=\"\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\nis not in\n{text}");
        }
        let samples = Samples::parse(&text).unwrap();
        assert_eq!(samples.sum("tfo_server_accepted_total", &[]).to_string(), "8");
    }
}
