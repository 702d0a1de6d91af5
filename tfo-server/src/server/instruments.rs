//! What the server measures of itself, and the thread that serves it.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tfo_core::diagnosis::Outcome;
use tfo_core::host::Counters;
use tfo_core::program::logging;
use tfo_core::socket::FastOpenListener;

use super::listeners::{BoundListener, cannot_listen};
use crate::access_log::AccessLog;
use crate::arrival::ArrivalVerdict;
use crate::close_reason::CloseKind;
use crate::config::values::ServiceKind;
use crate::keys::KeyView;
use crate::metrics::endpoint::MetricsSource;
use crate::metrics::families::{Family, Labels};
use crate::metrics::stats::{
    BUCKETS, CookieOrigin, Count, Histogram, ListenerTotals, Registry, Timing,
};
use crate::metrics::usage::Usage;
use crate::output::Failure;
use crate::service::forward::{Forward, UpstreamState};
use crate::worker::shared::SharedState;

/// More than may look at a time, so that who asks for its health need not try twice.
const BACKLOG: u32 = 1024;

/// Listens where the metrics are served.
pub(super) fn listen(address: SocketAddr) -> Result<FastOpenListener, Failure> {
    let builder = FastOpenListener::builder(address).backlog(BACKLOG).queue(0);
    let listener = builder.save_syn(false).nodelay(true).nonblocking(true).listen();
    listener.map_err(|e| cannot_listen(address, "metrics.port", &e))
}

/// What can be read of the running server, from any thread.
#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) registry: Registry,
    shared: Arc<SharedState>,
    keys: Mutex<KeyView>,
    listeners: Mutex<Vec<WatchedListener>>,
    workers: usize,
    access_log: AccessLog,
    started: (Instant, SystemTime),
    stopping: AtomicBool,
}

/// A listener whose sockets are the workers' to close.
#[derive(Debug)]
struct WatchedListener {
    address: SocketAddr,
    service: ServiceKind,
    sockets: Vec<Weak<FastOpenListener>>,
    forward: Option<Arc<Forward>>,
}

impl Instruments {
    pub(super) fn new(
        shared: Arc<SharedState>,
        keys: KeyView,
        workers: usize,
        access_log: AccessLog,
    ) -> Self {
        Self {
            registry: Registry::default(),
            shared,
            keys: Mutex::new(keys),
            listeners: Mutex::default(),
            workers,
            access_log,
            started: (Instant::now(), SystemTime::now()),
            stopping: AtomicBool::new(false),
        }
    }

    /// These are the listeners now.
    pub(super) fn set_listeners(&self, listeners: &[BoundListener]) {
        let listeners = listeners.iter().map(|bound| WatchedListener {
            address: bound.address,
            service: bound.service.kind(),
            sockets: bound.sockets.iter().map(Arc::downgrade).collect(),
            forward: bound.service.forward().cloned(),
        });
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner) = listeners.collect();
    }

    /// Reports from now on that the server drains.
    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn server(&self) -> Vec<Family> {
        let (since, at) = self.started;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ready = u8::from(self.not_ready().is_none());
        let lost = self.access_log.lines_lost();
        let mut keys = Family::info("tfo_server_key", "Keys that cookies are accepted of.");
        let mut view = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = view.ring() {
            let roles = [("primary", Some(ring.primary())), ("backup", ring.backup())];
            for (role, key) in roles.into_iter().filter_map(|(role, key)| Some((role, key?))) {
                let fingerprint = key.fingerprint().to_string();
                keys.add(vec![("role", role.to_owned()), ("fingerprint", fingerprint)], 1);
            }
        }
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        vec![
            Family::info("tfo_server_build", "What is running.").with(version, 1),
            Family::gauge("tfo_server_ready", "1: connections may come, as /readyz says.")
                .with(vec![], ready),
            Family::gauge("tfo_server_uptime_seconds", "Since the start, by a steady clock.")
                .with(vec![], since.elapsed().as_secs_f64()),
            Family::gauge("process_start_time_seconds", "Start, since 1970.")
                .with(vec![], at.as_secs_f64()),
            Family::gauge("tfo_server_workers", "Threads that serve.").with(vec![], self.workers),
            Family::counter(
                "tfo_server_lines_lost",
                "Lines that standard output was too slow for, or failed at.",
            )
            .with(vec![], lost),
            Family::counter(
                "tfo_server_log_lines_lost",
                "Log lines that standard error was too slow for, or failed at.",
            )
            .with(vec![], logging::lines_lost()),
            keys,
        ]
    }

    /// The queues of each listener.
    fn queues(&self) -> Vec<Family> {
        let mut queue = Family::gauge(
            "tfo_server_fast_open_queue_length",
            "Fast open connections whose handshake may be unfinished, of all workers.",
        );
        let mut backlog = Family::gauge(
            "tfo_server_backlog_length",
            "Connections that may wait to be accepted, of all workers.",
        );
        let mut waiting = Family::gauge(
            "tfo_server_backlog_waiting",
            "Connections that wait to be accepted now.",
        );
        for listener in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let sockets: Vec<_> = listener.sockets.iter().filter_map(Weak::upgrade).collect();
            let sum = |of: fn(&FastOpenListener) -> tfo_core::Result<u32>| -> u32 {
                sockets.iter().map(|socket| of(socket).unwrap_or(0)).sum()
            };
            let labels = || labels(listener.address, listener.service);
            queue.add(labels(), sum(FastOpenListener::effective_queue));
            backlog.add(labels(), sum(FastOpenListener::effective_backlog));
            waiting.add(labels(), sum(FastOpenListener::waiting));
        }
        vec![queue, backlog, waiting]
    }

    /// Returns which listeners have no upstream for a new connection, as a reason not to be ready.
    fn without_upstream(&self) -> Option<String> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let without = listeners.iter().filter(|listener| {
            listener.forward.as_ref().is_some_and(|forward| !forward.is_ready())
        });
        let addresses: Vec<_> = without.map(|listener| listener.address.to_string()).collect();
        (!addresses.is_empty()).then(|| format!("no upstream of {} is up", addresses.join(", ")))
    }

    /// Where each listener forwards to.
    fn upstreams(&self) -> Vec<Family> {
        let mut up = Family::gauge("tfo_server_upstream_up", "0: it is left out until it is back.");
        let mut open =
            Family::gauge("tfo_server_upstream_open_connections", "Connections that it has.");
        let mut chosen = Family::counter(
            "tfo_server_upstream_connections",
            "Connections for which it was chosen.",
        );
        let mut failures = Family::counter(
            "tfo_server_upstream_failures",
            "Times that it could not be connected to, by a connection or a check.",
        );
        for listener in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let states = listener.forward.iter().flat_map(|forward| forward.states());
            for UpstreamState { address, up: is_up, open: connections, chosen: count, failed } in
                states
            {
                let labels = || {
                    let upstream = ("upstream", address.to_string());
                    vec![("listener", listener.address.to_string()), upstream]
                };
                up.add(labels(), u8::from(is_up));
                open.add(labels(), connections);
                chosen.add(labels(), count);
                failures.add(labels(), failed);
            }
        }
        vec![up, open, chosen, failures]
    }
}

impl MetricsSource for Instruments {
    fn families(&self) -> Vec<Family> {
        let mut families = self.server();
        families.extend(of_listeners(&self.registry.totals()));
        families.extend(self.queues());
        families.extend(self.upstreams());
        families.extend(kernel());
        families.extend(process());
        families
    }

    fn not_ready(&self) -> Option<Cow<'static, str>> {
        if self.stopping.load(Ordering::Relaxed) {
            Some("draining: it has been told to stop".into())
        } else if self.shared.is_full() {
            Some("full: as many connections are open as limits.connections allows".into())
        } else if self.shared.is_starved() {
            Some("starved: no descriptors are left to accept connections with".into())
        } else {
            self.without_upstream().map(Cow::Owned)
        }
    }
}

fn labels(address: SocketAddr, service: ServiceKind) -> Labels {
    vec![("listener", address.to_string()), ("service", service.to_string())]
}

fn of_listeners(listeners: &[ListenerTotals]) -> Vec<Family> {
    // A family with one value for each listener.
    let each = |mut family: Family, value: &dyn Fn(&ListenerTotals) -> u64| {
        for listener in listeners {
            family.add(labels(listener.address, listener.service), value(listener));
        }
        family
    };
    let counter = |name: &str, help: &str, count: Count| {
        each(Family::counter(name, help), &|listener| listener.totals.get(count))
    };
    // A family with a value for each word, where there is one; `always`: with zeros too.
    let words = |name: &str, help: &str, words: &[(Count, Labels, bool)]| {
        let mut family = Family::counter(name, help);
        for listener in listeners {
            for (count, word, always) in words {
                let value = listener.totals.get(*count);
                if value > 0 || *always {
                    let mut labels = labels(listener.address, listener.service);
                    labels.extend(word.iter().cloned());
                    family.add(labels, value);
                }
            }
        }
        family
    };
    let verdicts: Vec<_> = Count::verdicts()
        .map(|verdict| {
            let (outcome, cause) = match verdict {
                ArrivalVerdict::Is(outcome, cause) => {
                    (outcome.as_str(), cause.map_or("", |cause| cause.as_str()))
                }
                ArrivalVerdict::Unknown => ("unknown", ""),
                ArrivalVerdict::NotLookedAt => ("not-looked-at", ""),
            };
            let labels = vec![("verdict", outcome.to_owned()), ("cause", cause.to_owned())];
            let usual = matches!(
                verdict,
                ArrivalVerdict::Is(
                    Outcome::FastOpen | Outcome::CookieGranted | Outcome::NotAttempted,
                    None
                )
            );
            (Count::Verdict(verdict), labels, usual)
        })
        .collect();
    let cookies = CookieOrigin::ALL
        .map(|origin| (Count::Cookie(origin), vec![("origin", origin.as_str().to_owned())], true));
    let cuts = CloseKind::ALL
        .map(|why| (Count::CutShort(why), vec![("reason", why.as_str().to_owned())], false));
    let pauses =
        [(Count::PausedByLimit, "limits.connections"), (Count::PausedByDescriptors, "descriptors")]
            .map(|(count, reason)| (count, vec![("reason", reason.to_owned())], true));
    vec![
        counter("tfo_server_accepted", "Connections that were accepted.", Count::Accepted),
        counter("tfo_server_closed", "Connections that have ended.", Count::Closed),
        each(
            Family::gauge("tfo_server_open_connections", "Connections that are open."),
            &|listener| listener.totals.open(),
        ),
        words(
            "tfo_server_connections",
            "Connections that were accepted, by what came of fast open.",
            &verdicts,
        ),
        counter("tfo_server_syn_data_bytes", "Data that came in SYNs.", Count::SynBytes),
        counter("tfo_server_received_bytes", "All that was received.", Count::BytesIn),
        counter("tfo_server_sent_bytes", "All that was sent.", Count::BytesOut),
        words("tfo_server_cookies", "Cookies that came, by the key that made them.", &cookies),
        words("tfo_server_cut_short", "Connections that ended before they were done.", &cuts),
        words("tfo_server_accept_pauses", "Times that accepting paused.", &pauses),
        histogram(
            listeners,
            Timing::Handshake,
            Family::histogram(
                "tfo_server_handshake_seconds",
                "Round trip of the handshake, of connections that had completed it when accepted.",
            ),
        ),
        histogram(
            listeners,
            Timing::Service,
            Family::histogram(
                "tfo_server_service_seconds",
                "From accepting a connection to its end.",
            ),
        ),
    ]
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

/// The counters of this network namespace: of all its programs.
fn kernel() -> Vec<Family> {
    let counters = match Counters::read() {
        Ok(counters) => counters,
        Err(e) => {
            log::debug!("the kernel's counters can't be read: {e}");
            return Vec::new();
        }
    };
    let family = |(name, value): (&'static str, u64)| {
        let help = format!("{name} of /proc/net/netstat, of all programs of this host.");
        Family::counter(format!("tfo_kernel_{}", snake_case(name)), help).with(vec![], value)
    };
    counters.iter().map(family).collect()
}

/// `TCPFastOpenPassive` as `fast_open_passive`.
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

/// By the names that all exporters have for it.
fn process() -> Vec<Family> {
    fn with(mut family: Family, value: Option<impl Display>) -> Family {
        if let Some(value) = value {
            family.add(vec![], value);
        }
        family
    }
    let usage = Usage::read();
    vec![
        with(
            Family::gauge("process_resident_memory_bytes", "Memory in use."),
            usage.resident_bytes,
        ),
        with(Family::gauge("process_open_fds", "Descriptors in use."), usage.descriptors),
        with(Family::gauge("process_max_fds", "Descriptors allowed."), usage.most_descriptors),
        with(
            Family::counter("process_cpu_seconds", "Processor time of the threads."),
            usage.cpu.map(|time| time.as_secs_f64()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::{Exposition, exposition};
    use crate::metrics::parse::Samples;

    #[test]
    fn the_kernels_names_are_written_as_prometheus_writes_names() {
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
