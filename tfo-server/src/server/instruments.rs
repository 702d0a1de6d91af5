//! Makes the state of the running server available to metrics.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tfo_core::cli::logging;
use tfo_core::socket::FastOpenListener;

use super::listeners::{BoundListener, cannot_listen};
use crate::access_log::AccessLog;
use crate::config::values::ServiceKind;
use crate::keys::KeyView;
use crate::metrics::collect;
use crate::metrics::endpoint::MetricsSource;
use crate::metrics::families::Family;
use crate::metrics::stats::Registry;
use crate::output::Failure;
use crate::service::forward::{Forward, UpstreamState};
use crate::worker::shared::SharedState;

/// Larger than the number of metrics connections, so that a health check never has to retry.
const BACKLOG: u32 = 1024;

/// Listens on the metrics address.
pub(super) fn listen(address: SocketAddr) -> Result<FastOpenListener, Failure> {
    let builder = FastOpenListener::builder(address).backlog(BACKLOG).queue(0);
    let listener = builder.save_syn(false).nodelay(true).nonblocking(true).listen();
    listener.map_err(|e| cannot_listen(address, "metrics.port", &e))
}

/// The state of the running server that any thread may read.
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

/// A listener whose sockets belong to the workers.
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

    /// Replaces the listeners.
    pub(super) fn set_listeners(&self, listeners: &[BoundListener]) {
        let listeners = listeners.iter().map(|bound| WatchedListener {
            address: bound.address,
            service: bound.service.kind(),
            sockets: bound.sockets.iter().map(Arc::downgrade).collect(),
            forward: bound.service.forward().cloned(),
        });
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner) = listeners.collect();
    }

    /// From now on reports that the server is draining.
    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn server(&self) -> Vec<Family> {
        let (since, at) = self.started;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ready = u8::from(self.not_ready().is_none());
        let lost = self.access_log.lines_lost();
        let mut keys = Family::info("tfo_server_key", "Keys whose cookies are accepted.");
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
            Family::info("tfo_server_build", "Version of the running server.").with(version, 1),
            Family::gauge("tfo_server_ready", "1: ready for connections, as reported by /readyz.")
                .with(vec![], ready),
            Family::gauge(
                "tfo_server_uptime_seconds",
                "Time since the start, by a monotonic clock.",
            )
            .with(vec![], since.elapsed().as_secs_f64()),
            Family::gauge("process_start_time_seconds", "Start time, since the Unix epoch.")
                .with(vec![], at.as_secs_f64()),
            Family::gauge("tfo_server_workers", "Worker threads.").with(vec![], self.workers),
            Family::counter(
                "tfo_server_lines_lost",
                "Lines that were lost because standard output was too slow or failed.",
            )
            .with(vec![], lost),
            Family::counter(
                "tfo_server_log_lines_lost",
                "Log lines that were lost because standard error was too slow or failed.",
            )
            .with(vec![], logging::lines_lost()),
            keys,
        ]
    }

    /// Returns the queue lengths of each listener.
    fn queues(&self) -> Vec<Family> {
        let mut queue = Family::gauge(
            "tfo_server_fast_open_queue_length",
            "Maximum fast open connections with an incomplete handshake, of all workers.",
        );
        let mut backlog = Family::gauge(
            "tfo_server_backlog_length",
            "Maximum connections in the accept queues, of all workers.",
        );
        let mut waiting =
            Family::gauge("tfo_server_backlog_waiting", "Connections in the accept queues now.");
        for listener in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let sockets: Vec<_> = listener.sockets.iter().filter_map(Weak::upgrade).collect();
            let sum = |of: fn(&FastOpenListener) -> tfo_core::Result<u32>| -> u32 {
                sockets.iter().map(|socket| of(socket).unwrap_or(0)).sum()
            };
            let labels = || collect::labels(listener.address, listener.service);
            queue.add(labels(), sum(FastOpenListener::effective_queue));
            backlog.add(labels(), sum(FastOpenListener::effective_backlog));
            waiting.add(labels(), sum(FastOpenListener::waiting));
        }
        vec![queue, backlog, waiting]
    }

    /// Returns why the server is not ready if a listener has no upstream for a new connection.
    fn without_upstream(&self) -> Option<String> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let without = listeners.iter().filter(|listener| {
            listener.forward.as_ref().is_some_and(|forward| !forward.is_ready())
        });
        let addresses: Vec<_> = without.map(|listener| listener.address.to_string()).collect();
        (!addresses.is_empty()).then(|| format!("no upstream of {} is up", addresses.join(", ")))
    }

    /// Returns the state of each listener's upstreams.
    fn upstreams(&self) -> Vec<Family> {
        let mut up = Family::gauge(
            "tfo_server_upstream_up",
            "1: receives connections. 0: failed, and skipped until it recovers.",
        );
        let mut open = Family::gauge(
            "tfo_server_upstream_open_connections",
            "Open connections to the upstream.",
        );
        let mut chosen = Family::counter(
            "tfo_server_upstream_connections",
            "Connections for which the upstream was chosen.",
        );
        let mut failures = Family::counter(
            "tfo_server_upstream_failures",
            "Failed attempts to connect to the upstream, by connections or health checks.",
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
        families.extend(collect::of_listeners(&self.registry.totals()));
        families.extend(self.queues());
        families.extend(self.upstreams());
        families.extend(collect::kernel());
        families.extend(collect::process());
        families
    }

    fn not_ready(&self) -> Option<Cow<'static, str>> {
        if self.stopping.load(Ordering::Relaxed) {
            Some("draining: the server is stopping".into())
        } else if self.shared.is_full() {
            Some("full: limits.connections connections are open".into())
        } else if self.shared.is_starved() {
            Some("starved: no descriptors are left to accept connections".into())
        } else {
            self.without_upstream().map(Cow::Owned)
        }
    }
}
