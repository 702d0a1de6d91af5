//! The main thread: starts the workers, handles signals, and stops the server.
//!
//! [`Supervisor::start`] binds all sockets, drops privileges, and starts the workers. [`Supervisor::run`] waits for
//! signals, workers and timers. The first stop signal drains the server; a second one closes all connections.
//!
//! Invariants:
//!
//! 1. The thread blocks only in its poll: log lines, notifications and access log entries are queued.
//! 2. Everything that needs privileges happens before they are dropped.
//! 3. Closing a listener loses no connection whose data the kernel has acknowledged (`closing`).
//! 4. A reload changes all settings or none (`reload`).

mod reload;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use std::{io, mem};
use tfo_core::cli::output::counted;

use mio::{Events, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use tfo_core::cli::value::Format;
use tfo_core::cli::{SettingsError, error_chain};
use tfo_core::host::readiness::ServerFacts;
use tfo_core::probe::ServerObserver;
use tfo_core::socket::FastOpenListener;

use super::activation::InheritedSockets;
use super::closing::ClosingListeners;
use super::descriptors::{self, DescriptorNeed};
use super::instruments::{self, Instruments};
use super::listeners::{BoundListener, cannot_listen};
use super::privileges::RunAs;
use super::signals::Signals;
use super::systemd::{Notifier, Watchdog};
use crate::access_log::{AccessLog, TotalsEntry, Tracer};
use crate::arrival::cookie_origin::{CookieForensics, RecentClients};
use crate::close_reason::CloseKind;
use crate::config::Settings;
use crate::connection::listener::ListenerContext;
use crate::keys::Keys;
use crate::metrics::endpoint::{MetricsEndpoint, MetricsSource};
use crate::metrics::{table, usage};
use crate::output::{self, Failure};
use crate::service::Service;
use crate::worker::Worker;
use crate::worker::command::WorkerCommand;
use crate::worker::handle::WorkerHandle;
use crate::worker::shared::SharedState;

/// Reads the settings again, for a reload.
pub(super) type ReadSettings<'a> = &'a dyn Fn() -> Result<Settings, SettingsError>;

const SIGNALS: Token = Token(0);
const RELOAD: Token = Token(1);
const STATS: Token = Token(2);
const WORKERS: Token = Token(3);
/// How often keys are checked and the host's settings are refreshed.
const TICK: Duration = Duration::from_secs(1);
/// Signals within this time count as one: `timeout(1)` sends a signal to the process and to its group.
const SIGNAL_DEBOUNCE: Duration = Duration::from_millis(200);
/// Assumed number of open descriptors if the kernel does not report it.
const DEFAULT_OPEN: u64 = 32;

pub(super) struct Supervisor {
    settings: Settings,
    keys: Keys,
    poll: Poll,
    signals: Signals,
    reload_signals: Signals,
    /// SIGUSR1: print the counters.
    stats_signals: Signals,
    shared: Arc<SharedState>,
    instruments: Arc<Instruments>,
    /// The thread that serves metrics.
    metrics: Option<WorkerHandle>,
    access_log: AccessLog,
    workers: Vec<WorkerHandle>,
    listeners: Vec<BoundListener>,
    /// Descriptors that were open at the start, except those of listeners.
    own_descriptors: u64,
    /// The number of the next listener.
    next_number: usize,
    observer: Option<ServerObserver>,
    closing: ClosingListeners,
    stopping: Option<Stopping>,
    /// When the first stop signal arrived.
    stop_signal: Option<Instant>,
    notifier: Notifier,
    watchdog: Option<Watchdog>,
}

/// The progress of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// Workers serve queued connections and close their listeners.
    Closing,
    /// Open connections may complete.
    Draining,
}

impl Supervisor {
    /// Binds the sockets, drops privileges and starts the workers.
    pub(super) fn start(settings: Settings) -> Result<Self, Failure> {
        let run_as = RunAs::look_up(settings.process.user.get(), settings.process.group.get())
            .map_err(|e| Failure::settings(&e))?;
        let inherited = InheritedSockets::for_listeners(&settings)?;
        descriptors::raise(DescriptorNeed::from_settings(&settings));
        let mut keys = Keys::load(&settings.keys, SystemTime::now())?;
        let services = make_services(&settings)?;
        let mut listeners = Vec::with_capacity(services.len());
        let needs = settings.listeners.iter().zip(services).zip(inherited);
        for (number, ((listen, service), inherited)) in needs.enumerate() {
            let bound =
                BoundListener::new(number, listen, service, &keys, settings.workers, inherited)
                    .map_err(|e| cannot_listen(listen.address, "--port", &e))?;
            listeners.push(bound);
        }
        let metrics = settings.metrics.map(instruments::listen).transpose()?;
        let tracer = Tracer::from_settings(&settings)?;
        // In a network namespace without keys, the kernel creates a key with the first listener.
        keys.check(SystemTime::now(), false, all_sockets(&listeners));
        // Nothing below needs privileges. All threads switch, including the logger's.
        if let Some(run_as) = run_as {
            run_as.apply().map_err(|e| Failure::new(error_chain(&e)))?;
        }
        let mut supervisor = Self::with(settings, keys, listeners, tracer)?;
        supervisor.metrics =
            metrics.map(|listener| supervisor.serve_metrics(listener)).transpose()?;
        Ok(supervisor)
    }

    fn with(
        settings: Settings,
        keys: Keys,
        listeners: Vec<BoundListener>,
        tracer: Option<Tracer>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let access_log = AccessLog::start(settings.output.format, tracer)?;
        let waker = Arc::new(Waker::new(poll.registry(), WORKERS)?);
        let shared = Arc::new(SharedState::new(
            settings.limits.connections.get() as usize,
            settings.workers,
            Arc::clone(&waker),
        ));
        let instruments = Instruments::new(
            Arc::clone(&shared),
            keys.view(),
            settings.workers,
            access_log.clone(),
        );
        let recent = Arc::new(RecentClients::new(settings.workers));
        let lines = settings.prints_lines().then(|| access_log.clone());
        let workers = (0..settings.workers)
            .map(|number| {
                let forensics = CookieForensics::new(Arc::clone(&recent), number);
                let name = format!("worker {number}");
                let (keys, lines) = (keys.view(), lines.clone());
                WorkerHandle::start(name, &shared, move |shared| {
                    Worker::new(shared, keys, forensics, lines)
                })
            })
            .collect::<io::Result<_>>()?;
        let mut supervisor = Self {
            signals: Signals::new(poll.registry(), SIGNALS, &[SIGINT, SIGTERM])?,
            reload_signals: Signals::new(poll.registry(), RELOAD, &[SIGHUP])?,
            stats_signals: Signals::new(poll.registry(), STATS, &[SIGUSR1])?,
            own_descriptors: 0,
            next_number: listeners.len(),
            observer: None,
            closing: ClosingListeners::default(),
            stopping: None,
            stop_signal: None,
            notifier: Notifier::from_environment()?,
            watchdog: Watchdog::from_environment(Instant::now()),
            workers,
            settings,
            keys,
            poll,
            shared,
            instruments: Arc::new(instruments),
            access_log,
            metrics: None,
            listeners,
        };
        // No connection has been accepted yet.
        let open = usage::descriptors().unwrap_or(DEFAULT_OPEN);
        supervisor.own_descriptors = open.saturating_sub(supervisor.sockets());
        supervisor.limit_descriptors();
        supervisor.send_listeners()?;
        Ok(supervisor)
    }

    /// Returns the number of listening sockets.
    fn sockets(&self) -> u64 {
        self.listeners.iter().map(|bound| bound.sockets.len() as u64).sum()
    }

    /// Sets how many descriptors connections may use.
    fn limit_descriptors(&self) {
        let others = self.own_descriptors + self.sockets();
        let budget = descriptors::for_connections(&self.settings, descriptors::limit(), others);
        let mixed = self.settings.listeners.iter().any(|listen| listen.forward().is_none());
        self.shared.budget.set(budget, self.workers.len(), mixed);
    }

    /// Serves metrics from a dedicated thread, so that scrapes and clients never delay each other, and metrics stay
    /// available until the last connection closes.
    fn serve_metrics(&self, listener: FastOpenListener) -> io::Result<WorkerHandle> {
        let max_connections = descriptors::max_metrics_connections(descriptors::limit());
        let shared =
            Arc::new(SharedState::new(max_connections, 1, Arc::clone(&self.shared.supervisor)));
        let forensics = CookieForensics::new(Arc::new(RecentClients::new(1)), 0);
        let keys = self.keys.view();
        let worker = WorkerHandle::start("metrics".to_owned(), &shared, move |shared| {
            Worker::new(shared, keys, forensics, None).map(Worker::with_reserve)
        })?;
        log::info!("metrics at http://{}/metrics", listener.local_addr());
        let service = Service::http(Box::new(MetricsEndpoint::new(Arc::<Instruments>::clone(
            &self.instruments,
        ))));
        let observer = ServerObserver::new(&listener);
        let context = ListenerContext::internal(
            listener.local_addr(),
            service,
            &self.settings.limits,
            observer,
        );
        let (listener, context) = (Arc::new(listener), Box::new(context));
        worker.send(WorkerCommand::Listen { number: 0, listener, context })?;
        Ok(worker)
    }

    /// Serves until a stop signal has arrived and all connections have ended.
    pub(super) fn run(mut self, reload: ReadSettings<'_>) -> Result<(), Failure> {
        // Logged last: a process that waits for this line may connect and send signals.
        self.announce();
        self.notifier.ready(&self.status());
        self.supervise(reload)?;
        self.finish()
    }

    fn supervise(&mut self, reload: ReadSettings<'_>) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        let mut next_tick = Instant::now() + TICK;
        // Without a command to stop, a worker ends only by an error.
        while !self.workers.iter().all(WorkerHandle::is_finished) {
            let watchdog = self.watchdog.as_ref().map(Watchdog::next_check);
            let wake = [watchdog, self.closing.next_check()].into_iter().flatten().min();
            let wake = wake.map_or(next_tick, |at| at.min(next_tick));
            let wait = wake.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(wait)) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.stop()?,
                    RELOAD if self.reload_signals.take() > 0 => self.reload(reload),
                    STATS if self.stats_signals.take() > 0 => self.print_stats(),
                    _ => {}
                }
            }
            self.close_finished()?;
            self.log_stopped();
            if self.stopping.is_none() && self.workers.iter().any(WorkerHandle::is_finished) {
                self.command_all(|| WorkerCommand::Stop(CloseKind::WorkerFailed))?;
            }
            if next_tick <= Instant::now() {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
            self.watch()?;
        }
        Ok(())
    }

    fn tick(&mut self) {
        if let Some(observer) = &self.observer {
            observer.refresh();
        }
        if self.stopping.is_none() {
            self.keys.check(SystemTime::now(), false, all_sockets(&self.listeners));
        }
    }

    /// Notifies systemd's watchdog while every worker responds.
    fn watch(&mut self) -> io::Result<()> {
        let (shared, workers) = (&self.shared, self.workers.len());
        // During a stop, workers end one by one; the stop has time limits of its own.
        let alive = || self.stopping.is_some() || shared.alive.load(Ordering::Relaxed) >= workers;
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        if watchdog.check(Instant::now(), &self.notifier, alive) {
            self.shared.alive.store(0, Ordering::Relaxed);
            self.command_all(|| WorkerCommand::ReportAlive)?;
        }
        Ok(())
    }

    /// Handles a stop signal: the first one stops accepting and drains, the second one closes all connections.
    fn stop(&mut self) -> io::Result<()> {
        if self.signals.take() == 0 {
            return Ok(());
        }
        let now = Instant::now();
        if let Some(first) = self.stop_signal {
            if now.saturating_duration_since(first) < SIGNAL_DEBOUNCE {
                return Ok(());
            }
            log::info!("second signal: closing {} now", self.open_connections());
            self.stopping = Some(Stopping::Draining);
            return self.command_all(|| WorkerCommand::Stop(CloseKind::SecondSignal));
        }
        log::info!("stopping: new connections are dropped, open ones are served");
        self.stop_signal = Some(now);
        self.stopping = Some(Stopping::Closing);
        self.instruments.set_stopping();
        // The workers close the sockets: references held here would keep them open.
        let listeners = mem::take(&mut self.listeners);
        self.close(&listeners)?;
        let limit = self.settings.limits.drain_timeout.get();
        self.notifier.stopping("draining open connections", limit);
        let until = Instant::now() + limit;
        self.command_all(|| WorkerCommand::Drain { until })
    }

    /// Closes listeners: at once, or after the handshakes that have begun.
    fn close(&mut self, listeners: &[BoundListener]) -> io::Result<()> {
        let now = Instant::now();
        let at_once: Vec<_> = listeners
            .iter()
            .filter(|bound| !self.closing.start(bound, now))
            .map(|bound| bound.number)
            .collect();
        self.close_listeners(&at_once)
    }

    fn close_finished(&mut self) -> io::Result<()> {
        let finished = self.closing.take_finished(Instant::now());
        self.close_listeners(&finished)
    }

    fn close_listeners(&self, numbers: &[usize]) -> io::Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let close =
            || numbers.iter().map(|number| WorkerCommand::CloseListener { number: *number });
        self.workers.iter().try_for_each(|worker| worker.send_all(close()))
    }

    /// Logs, once, that all workers have stopped accepting.
    fn log_stopped(&mut self) {
        if self.stopping == Some(Stopping::Closing)
            && self.shared.stopped.load(Ordering::Relaxed) >= self.workers.len()
        {
            self.stopping = Some(Stopping::Draining);
            let timeout = self.settings.limits.drain_timeout.get();
            let wait = match self.shared.open.load(Ordering::Relaxed) {
                0 => String::new(),
                _ => format!("; waiting up to {timeout:?} for {}", self.open_connections()),
            };
            log::info!("stopped accepting{wait}");
        }
    }

    /// Prints the counters.
    fn print_stats(&self) {
        match self.settings.output.format {
            Format::Json => {
                self.access_log.totals(TotalsEntry::new(&self.instruments.registry.sum()));
            }
            Format::Text => {
                let instruments = Arc::clone(&self.instruments);
                self.access_log.text(move || table::for_people(&instruments.families()));
            }
        }
    }

    fn command_all(&self, command: impl Fn() -> WorkerCommand) -> io::Result<()> {
        self.workers.iter().try_for_each(|worker| worker.send(command()))
    }

    /// Sends each worker its sockets and their contexts.
    fn send_listeners(&mut self) -> io::Result<()> {
        self.instruments.set_listeners(&self.listeners);
        let settings = self.settings.listeners_by_address();
        let mut commands: Vec<Vec<WorkerCommand>> =
            self.workers.iter().map(|_| Vec::new()).collect();
        for bound in &self.listeners {
            let Some(listen) = settings.get(&bound.address) else { continue };
            bound.service.start()?;
            let observers = bound.observers(&mut self.observer);
            let stats = self.instruments.registry.stats(
                bound.address,
                bound.service.kind(),
                self.workers.len(),
            );
            let workers = commands.iter_mut().zip(bound.sockets.iter().cycle());
            for ((commands, socket), (observer, stats)) in workers.zip(observers.zip(stats)) {
                let context = ListenerContext::new(
                    &self.settings,
                    listen,
                    bound.service.clone(),
                    observer,
                    stats,
                );
                commands.push(WorkerCommand::Listen {
                    number: bound.number,
                    listener: Arc::clone(socket),
                    context: Box::new(context),
                });
            }
        }
        self.workers
            .iter()
            .zip(commands)
            .try_for_each(|(worker, commands)| worker.send_all(commands))
    }

    /// Returns one line for `systemctl status`, with the first few addresses.
    fn status(&self) -> String {
        const SHOWN: usize = 8;
        let shown = self.listeners.iter().take(SHOWN);
        let addresses: Vec<_> = shown.map(|bound| bound.address.to_string()).collect();
        let more = match self.listeners.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("listening on {}{more}", addresses.join(", "))
    }

    fn open_connections(&self) -> String {
        let open = self.shared.open.load(Ordering::Relaxed);
        counted(open, "open connection", "open connections")
    }

    /// Waits for the workers, and prints the totals. Fails if a worker has failed.
    fn finish(self) -> Result<(), Failure> {
        let mut status = Ok(());
        if let Some(Err(e)) = self
            .metrics
            .as_ref()
            .map(|worker| worker.send(WorkerCommand::Stop(CloseKind::DrainTimeout)))
        {
            log::error!("can't wake the metrics thread: {e}");
        }
        for worker in self.workers.into_iter().chain(self.metrics) {
            match (&status, worker.join()) {
                (_, Ok(())) => {}
                (Ok(()), Err(e)) => status = Err(e.into()),
                // The program ends with the first error.
                (Err(_), Err(e)) => log::error!("{e}"),
            }
        }
        self.access_log.finish(TotalsEntry::new(&self.instruments.registry.sum()));
        self.notifier.finish();
        status
    }

    /// Logs what each listener and this host allow, with advice if that is not enough.
    fn announce(&self) {
        for (bound, listen) in self.listeners.iter().zip(&self.settings.listeners) {
            let (queue, backlog) = listen.queue_and_backlog(bound.sockets.len());
            let facts = match ServerFacts::of_own() {
                Ok(facts) => facts,
                Err(e) => {
                    log::warn!("can't read this host's settings: {e}");
                    continue;
                }
            };
            let (effective_queue, effective_backlog) = bound.queue_and_backlog();
            let workers = match bound.sockets.len() {
                1 => String::new(),
                workers => format!(", each divided among {workers} workers"),
            };
            log::info!(
                "listening on {} ({}); fast open queue {effective_queue}, backlog {effective_backlog}{workers}; {}",
                bound.address,
                bound.service.kind(),
                output::setting("net.ipv4.tcp_fastopen", facts.tcp_fastopen),
            );
            for finding in facts.findings(listen.address, queue, backlog) {
                log::warn!("{finding}");
            }
        }
        log::info!("keys: {}", self.keys);
    }
}

fn all_sockets(listeners: &[BoundListener]) -> impl Iterator<Item = &FastOpenListener> {
    listeners.iter().flat_map(|bound| bound.sockets.iter().map(AsRef::as_ref))
}

/// Creates the services of the listeners.
fn make_services(settings: &Settings) -> Result<Vec<Service>, Failure> {
    settings.listeners.iter().map(Service::new).collect()
}
