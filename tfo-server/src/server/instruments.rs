//! The running server, as its metrics see it.

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
            let labels = || collect::labels(listener.address, listener.service);
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
        families.extend(collect::of_listeners(&self.registry.totals()));
        families.extend(self.queues());
        families.extend(self.upstreams());
        families.extend(collect::kernel());
        families.extend(collect::process());
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
