//! The main thread.
//!
//! 1. It never blocks on anything but its poll: log lines, notifications and entries of the access log are queued.
//! 2. All that needs privileges is done before they are dropped.
//! 3. Listeners close without losing a connection that the kernel has acknowledged (`closing`).
//! 4. A reload changes all settings or none (`reload`).

mod reload;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use std::{io, mem};

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
use crate::output::Failure;
use crate::service::Service;
use crate::worker::Worker;
use crate::worker::command::WorkerCommand;
use crate::worker::handle::WorkerHandle;
use crate::worker::shared::SharedState;

/// Reads the settings again.
pub(super) type ReadSettings<'a> = &'a dyn Fn() -> Result<Settings, SettingsError>;

const SIGNALS: Token = Token(0);
const RELOAD: Token = Token(1);
const STATS: Token = Token(2);
const WORKERS: Token = Token(3);
/// How often keys are checked, and the host's settings read again.
const TICK: Duration = Duration::from_secs(1);
/// Signals that come within as long are one: `timeout(1)` sends its own to the process and to its group.
const SIGNAL_DEBOUNCE: Duration = Duration::from_millis(200);
/// How many descriptors are taken to be open where the kernel does not say.
const DEFAULT_OPEN: u64 = 32;

pub(super) struct Supervisor {
    settings: Settings,
    keys: Keys,
    poll: Poll,
    signals: Signals,
    reload_signals: Signals,
    /// Asks for what was counted so far.
    stats_signals: Signals,
    shared: Arc<SharedState>,
    instruments: Arc<Instruments>,
    /// The thread that serves the metrics.
    metrics: Option<WorkerHandle>,
    access_log: AccessLog,
    workers: Vec<WorkerHandle>,
    listeners: Vec<BoundListener>,
    /// Descriptors that were open at the start, without those of listeners.
    own_descriptors: u64,
    /// The number of the next listener.
    next_number: usize,
    observer: Option<ServerObserver>,
    closing: ClosingListeners,
    stopping: Option<Stopping>,
    /// When the signal came that began it.
    stop_signal: Option<Instant>,
    notifier: Notifier,
    watchdog: Option<Watchdog>,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// Workers serve what waits, and close their listeners.
    Closing,
    /// Open connections may end.
    Draining,
}

impl Supervisor {
    /// Binds, and starts the workers.
    pub(super) fn start(settings: Settings) -> Result<Self, Failure> {
        let run_as = RunAs::look_up(settings.user.as_deref(), settings.group.as_deref())
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
        // A namespace without keys has made one with its first listener.
        keys.check(SystemTime::now(), false, all_sockets(&listeners));
        // The last that needs them is done. All threads change, that of the log too.
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
        let access_log = AccessLog::start(settings.format, tracer)?;
        let waker = Arc::new(Waker::new(poll.registry(), WORKERS)?);
        let shared = Arc::new(SharedState::new(
            settings.limits.connections,
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
        // No connection has come yet.
        let open = usage::descriptors().unwrap_or(DEFAULT_OPEN);
        supervisor.own_descriptors = open.saturating_sub(supervisor.sockets());
        supervisor.limit_descriptors();
        supervisor.send_listeners()?;
        Ok(supervisor)
    }

    /// How many sockets listen.
    fn sockets(&self) -> u64 {
        self.listeners.iter().map(|bound| bound.sockets.len() as u64).sum()
    }

    /// Sets how many descriptors the connections may use.
    fn limit_descriptors(&self) {
        let others = self.own_descriptors + self.sockets();
        let most = descriptors::for_connections(&self.settings, descriptors::limit(), others);
        let mixed = self.settings.listeners.iter().any(|listen| listen.forward().is_none());
        self.shared.budget.set(most, self.workers.len(), mixed);
    }

    /// Serves metrics from a dedicated thread, so that scrapes and clients never delay each other, and metrics stay
    /// available until the last connection closes.
    fn serve_metrics(&self, listener: FastOpenListener) -> io::Result<WorkerHandle> {
        let most = descriptors::max_metrics_connections(descriptors::limit());
        let shared = Arc::new(SharedState::new(most, 1, Arc::clone(&self.shared.supervisor)));
        let forensics = CookieForensics::new(Arc::new(RecentClients::new(1)), 0);
        let keys = self.keys.view();
        let worker = WorkerHandle::start("metrics".to_owned(), &shared, move |shared| {
            Worker::new(shared, keys, forensics, None).map(Worker::with_reserve)
        })?;
        log::info!("metrics: http://{}/metrics", listener.local_addr());
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

    /// Until a signal has come and all connections have ended.
    pub(super) fn run(mut self, reload: ReadSettings<'_>) -> Result<(), Failure> {
        // Only now: who waits for this line may connect, and may send signals.
        self.announce();
        self.notifier.ready(&self.status());
        self.supervise(reload)?;
        self.finish()
    }

    fn supervise(&mut self, reload: ReadSettings<'_>) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        let mut next_tick = Instant::now() + TICK;
        // A worker ends before it is told to only by an error.
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

    /// Reports to systemd that all is well, as long as each worker answers.
    fn watch(&mut self) -> io::Result<()> {
        let (shared, workers) = (&self.shared, self.workers.len());
        // At the end workers go one by one; it has limits of its own.
        let alive = || self.stopping.is_some() || shared.alive.load(Ordering::Relaxed) >= workers;
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        if watchdog.check(Instant::now(), &self.notifier, alive) {
            self.shared.alive.store(0, Ordering::Relaxed);
            self.command_all(|| WorkerCommand::ReportAlive)?;
        }
        Ok(())
    }

    /// The first signal ends accepting and lets the connections end; the second ends those too.
    fn stop(&mut self) -> io::Result<()> {
        if self.signals.take() == 0 {
            return Ok(());
        }
        let now = Instant::now();
        if let Some(first) = self.stop_signal {
            if now.saturating_duration_since(first) < SIGNAL_DEBOUNCE {
                return Ok(());
            }
            log::info!("second signal: closing {} now", self.count_of_open());
            self.stopping = Some(Stopping::Draining);
            return self.command_all(|| WorkerCommand::Stop(CloseKind::SecondSignal));
        }
        log::info!("told to stop: new connections are dropped, those that have begun are served");
        self.stop_signal = Some(now);
        self.stopping = Some(Stopping::Closing);
        self.instruments.set_stopping();
        // The workers close the sockets: ours would keep them open.
        let listeners = mem::take(&mut self.listeners);
        self.close(&listeners)?;
        let limit = self.settings.limits.drain_timeout;
        self.notifier.stopping("serving those who are connected", limit);
        let until = Instant::now() + limit;
        self.command_all(|| WorkerCommand::Drain { until })
    }

    /// Closes listeners: at once, or when the handshakes that have begun have ended.
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
            log::info!(
                "stopped accepting; {} may take {:?} to end",
                self.count_of_open(),
                self.settings.limits.drain_timeout
            );
        }
    }

    /// Prints what has been counted so far.
    fn print_stats(&self) {
        match self.settings.format {
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

    /// Sends each worker its sockets, and how to serve them.
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

    /// One line for `systemctl status`, with the first few addresses.
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

    fn count_of_open(&self) -> String {
        let open = self.shared.open.load(Ordering::Relaxed);
        format!("{open} open {}", if open == 1 { "connection" } else { "connections" })
    }

    /// Adds up what the workers have counted, and prints it. Fails if a worker has failed.
    fn finish(self) -> Result<(), Failure> {
        let mut status = Ok(());
        if let Some(Err(e)) = self
            .metrics
            .as_ref()
            .map(|worker| worker.send(WorkerCommand::Stop(CloseKind::DrainTimeout)))
        {
            log::error!("the thread of the metrics can't be woken: {e}");
        }
        for worker in self.workers.into_iter().chain(self.metrics) {
            match (&status, worker.join()) {
                (_, Ok(())) => {}
                (Ok(()), Err(e)) => status = Err(e.into()),
                // The first error is the one that the program ends with.
                (Err(_), Err(e)) => log::error!("{e}"),
            }
        }
        self.access_log.finish(TotalsEntry::new(&self.instruments.registry.sum()));
        self.notifier.finish();
        status
    }

    /// Logs what each listener and this host allow, and what to do if that is not enough.
    fn announce(&self) {
        for (bound, listen) in self.listeners.iter().zip(&self.settings.listeners) {
            let wish = listen.wish(bound.sockets.len());
            let facts = match ServerFacts::of_own(wish) {
                Ok(facts) => facts,
                Err(e) => {
                    log::warn!("this host's settings can't be read: {e}");
                    continue;
                }
            };
            let (queue, backlog) = bound.queue_and_backlog();
            let workers = match bound.sockets.len() {
                1 => String::new(),
                workers => format!(", each divided among {workers} workers"),
            };
            log::info!(
                "listening on {} ({}); fast open queue {queue}, backlog {backlog}{workers}; {}",
                bound.address,
                bound.service.kind(),
                facts.tcp_fastopen.map_or_else(
                    || "no net.ipv4.tcp_fastopen".to_owned(),
                    |bits| format!("net.ipv4.tcp_fastopen {bits}")
                ),
            );
            for finding in facts.findings(wish) {
                log::warn!("{finding}");
            }
        }
        log::info!("keys: {}", self.keys);
    }
}

fn all_sockets(listeners: &[BoundListener]) -> impl Iterator<Item = &FastOpenListener> {
    listeners.iter().flat_map(|bound| bound.sockets.iter().map(AsRef::as_ref))
}

/// Reads what the listeners' services need.
fn make_services(settings: &Settings) -> Result<Vec<Service>, Failure> {
    settings.listeners.iter().map(|listen| Service::new(&listen.service)).collect()
}
