//! The main thread.

use std::io;
use std::mem;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tfo_core::host::readiness::{Finding, ServerFacts};
use tfo_core::observer::ServerObserver;
use tfo_core::program::{one_line, output::colour_allowed, value::Format};
use tfo_core::socket::FastOpenListener;

use super::Reload;
use super::forensics::{Forensics, Recent};
use super::inbox::{Inbox, Order};
use super::listeners::Bound;
use super::plan::Plan;
use super::signals::Signals;
use super::sources::Sources;
use super::worker::{Shared, Worker};
use crate::config::{ListenSettings, Settings};
use crate::keys::{KeySource, KeyView, Keys};
use crate::report::{self, Printer, Printing, Totals, Tracer};
use crate::service::Prepared;

const SIGNALS: Token = Token(0);
const HANGUP: Token = Token(1);
const WORKERS: Token = Token(2);
/// How often keys are looked at, and the host's settings read again.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    settings: Settings,
    keys: Keys,
    poll: Poll,
    signals: Signals,
    hangup: Signals,
    shared: Arc<Shared>,
    workers: Vec<Hand>,
    listeners: Vec<Bound>,
    /// The number of the next listener.
    next_number: usize,
    observer: Option<ServerObserver>,
    printing: Printing,
    stopping: Option<Stopping>,
}

/// A worker, as the supervisor sees it.
struct Hand {
    inbox: Arc<Inbox>,
    thread: JoinHandle<io::Result<Totals>>,
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
    /// Binds, and starts the workers. An error was told.
    pub(super) fn start(settings: Settings) -> Result<Self, ExitCode> {
        let mut keys = Keys::load(&settings.keys, SystemTime::now())
            .map_err(|e| report::settings_error(&e))?;
        let services = prepare(&settings).map_err(|e| report::settings_error(&e))?;
        let mut listeners = Vec::with_capacity(services.len());
        for (number, (listen, service)) in settings.listeners.iter().zip(services).enumerate() {
            let bound = Bound::new(number, listen, service, &keys, settings.workers)
                .map_err(|e| report::cannot_listen(listen.address, &e))?;
            listeners.push(bound);
        }
        let tracer = tracer(&settings)?;
        // A namespace without keys has made one with its first listener.
        keys.look(SystemTime::now(), false, all_sockets(&listeners));
        let supervisor = Self::with(settings, keys, listeners, tracer);
        supervisor.map_err(|e| report::failure(&e))
    }

    fn with(
        settings: Settings,
        keys: Keys,
        listeners: Vec<Bound>,
        tracer: Option<Tracer>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (printer, printing) = Printer::start(settings.format, tracer)?;
        let printer = settings.prints_lines().then_some(printer);
        let shared = Arc::new(Shared {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(settings.limits.connections),
            sources: Sources::default(),
            stopped: AtomicUsize::new(0),
            supervisor: Waker::new(poll.registry(), WORKERS)?,
        });
        let recent = Arc::new(Recent::new(settings.workers));
        let hands = (0..settings.workers)
            .map(|number| {
                let forensics = Forensics::new(Arc::clone(&recent), number);
                Hand::start(number, &shared, keys.view(), forensics, printer.clone())
            })
            .collect::<io::Result<_>>()?;
        let mut supervisor = Self {
            signals: Signals::new(poll.registry(), SIGNALS, &[SIGINT, SIGTERM])?,
            hangup: Signals::new(poll.registry(), HANGUP, &[SIGHUP])?,
            next_number: listeners.len(),
            observer: None,
            stopping: None,
            workers: hands,
            settings,
            keys,
            poll,
            shared,
            listeners,
            printing,
        };
        supervisor.send_plans()?;
        Ok(supervisor)
    }

    /// Until a signal has come and all connections have ended.
    pub(super) fn run(mut self, reload: Reload<'_>) -> ExitCode {
        // Only now: who waits for this line may connect, and may send signals.
        self.announce();
        match self.supervise(reload) {
            Ok(()) => self.finish(),
            Err(e) => report::failure(&e),
        }
    }

    fn supervise(&mut self, reload: Reload<'_>) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        let mut next_tick = Instant::now() + TICK;
        // A worker ends before it is told to only by an error.
        while !self.workers.iter().all(|hand| hand.thread.is_finished()) {
            let wait = next_tick.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(wait)) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.stop()?,
                    HANGUP if self.hangup.take() > 0 => self.reload(reload),
                    _ => {}
                }
            }
            self.note_stopped();
            if self.stopping.is_none() && self.workers.iter().any(|hand| hand.thread.is_finished())
            {
                self.order_all(|| Order::Cut("a worker has failed"))?;
            }
            if next_tick <= Instant::now() {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
        }
        Ok(())
    }

    fn tick(&mut self) {
        if let Some(observer) = &self.observer {
            observer.refresh();
        }
        if self.stopping.is_none() {
            self.keys.look(SystemTime::now(), false, all_sockets(&self.listeners));
        }
    }

    /// The first signal ends accepting and lets the connections end; the second ends those too.
    fn stop(&mut self) -> io::Result<()> {
        let count = self.signals.take();
        if count == 0 {
            return Ok(());
        }
        if self.stopping.is_some() || count > 1 {
            log::info!("second signal: closing {} now", self.count_of_open());
            self.stopping = Some(Stopping::Draining);
            return self.order_all(|| Order::Cut("second signal"));
        }
        self.stopping = Some(Stopping::Closing);
        // The workers close the sockets: ours would keep them open.
        self.listeners.clear();
        let until = Instant::now() + self.settings.limits.drain_timeout;
        self.order_all(|| Order::Drain { until })
    }

    /// Says so once all workers have stopped accepting.
    fn note_stopped(&mut self) {
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

    /// New settings and keys, or, when they are bad, those before.
    fn reload(&mut self, read: Reload<'_>) {
        if self.stopping.is_some() {
            return;
        }
        match read() {
            Ok(settings) => match self.take_over(settings) {
                Ok(()) => log::info!("settings and keys were read again"),
                Err(why) => log::error!("{why}; the settings and keys before stay"),
            },
            Err(e) => log::error!("{}; the settings and keys before stay", one_line(&e)),
        }
    }

    /// All that can fail comes first; after that nothing does.
    fn take_over(&mut self, mut settings: Settings) -> Result<(), String> {
        if settings.keys == KeySource::Kernel && self.keys.are_own() {
            return Err("keys.mode: a listener that has keys of its own can't go back to the \
                        kernel's: that needs a restart"
                .to_owned());
        }
        let mut services = prepare(&settings).map_err(|e| one_line(&e))?.into_iter();
        let other_keys = (settings.keys != self.settings.keys)
            .then(|| Keys::load(&settings.keys, SystemTime::now()))
            .transpose()
            .map_err(|e| one_line(&e))?;
        let keys = other_keys.as_ref().unwrap_or(&self.keys);
        let workers = self.settings.workers;
        let mut added = Vec::new();
        let mut kept = Vec::new();
        for (listen, service) in settings.listeners.iter().zip(&mut services) {
            if let Some(index) =
                self.listeners.iter().position(|bound| bound.address == listen.address)
            {
                kept.push((index, service, listen.wish(workers).queue));
                continue;
            }
            let number = self.next_number + added.len();
            let bound = Bound::new(number, listen, service, keys, workers)
                .map_err(|e| format!("can't listen on {}: {}", listen.address, one_line(&e)))?;
            added.push(bound);
        }
        self.next_number += added.len();
        let mut olds: Vec<_> = mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for (index, service, queue) in kept {
            let Some(mut bound) = olds.get_mut(index).and_then(Option::take) else { continue };
            if let Err(e) = bound.set_queue(queue) {
                log::error!("{}: {}", bound.address, one_line(&e));
            }
            bound.service = service;
            self.listeners.push(bound);
        }
        for removed in olds.into_iter().flatten() {
            log::info!("no longer listening on {}", removed.address);
            self.order_all_or_log(|| Order::Close { number: removed.number });
        }
        for bound in &added {
            log::info!("listening on {} ({})", bound.address, bound.service.kind());
        }
        self.listeners.append(&mut added);
        self.keep_what_needs_a_restart(&mut settings);
        self.shared.most.store(settings.limits.connections, Ordering::Relaxed);
        self.settings = settings;
        match other_keys {
            Some(keys) => {
                self.keys.replace(keys);
                self.keys.apply(all_sockets(&self.listeners));
            }
            None => self.keys.look(SystemTime::now(), true, all_sockets(&self.listeners)),
        }
        self.send_plans().map_err(|e| e.to_string())
    }

    /// What was made at the start stays as it is, and that is said.
    fn keep_what_needs_a_restart(&self, new: &mut Settings) {
        let old = &self.settings;
        let keep = |name: &str, differs: bool| {
            if differs {
                log::warn!("{name} has changed: that needs a restart");
            }
        };
        keep("engine.workers", new.workers != old.workers);
        keep("metrics", new.metrics != old.metrics);
        keep("process", (&new.user, &new.group) != (&old.user, &old.group));
        keep("output", (new.format, new.lines) != (old.format, old.lines));
        let backlog = |listen: &ListenSettings| {
            let same = |other: &&ListenSettings| other.address == listen.address;
            old.listeners.iter().find(same).is_some_and(|other| other.backlog != listen.backlog)
        };
        keep("listen.backlog", new.listeners.iter().any(backlog));
        new.workers = old.workers;
        new.metrics = old.metrics;
        new.user.clone_from(&old.user);
        new.group.clone_from(&old.group);
        (new.format, new.lines) = (old.format, old.lines);
    }

    fn order_all(&self, order: impl Fn() -> Order) -> io::Result<()> {
        self.workers.iter().try_for_each(|hand| hand.inbox.put(order()))
    }

    fn order_all_or_log(&self, order: impl Fn() -> Order) {
        if let Err(e) = self.order_all(order) {
            log::error!("a worker can't be woken: {e}");
        }
    }

    /// Tells each worker of its sockets, and how to serve them.
    fn send_plans(&mut self) -> io::Result<()> {
        for bound in &self.listeners {
            let Some(listen) =
                self.settings.listeners.iter().find(|listen| listen.address == bound.address)
            else {
                continue;
            };
            let observers = bound.observers(&mut self.observer);
            for ((hand, socket), observer) in self.workers.iter().zip(&bound.sockets).zip(observers)
            {
                let plan = Plan::new(&self.settings, listen, bound.service.clone(), observer);
                hand.inbox.put(Order::Listen {
                    number: bound.number,
                    listener: Arc::clone(socket),
                    plan: Box::new(plan),
                })?;
            }
        }
        Ok(())
    }

    fn count_of_open(&self) -> String {
        let open = self.shared.open.load(Ordering::Relaxed);
        format!("{open} open {}", if open == 1 { "connection" } else { "connections" })
    }

    /// Adds up what the workers have counted, and prints it.
    fn finish(self) -> ExitCode {
        let mut totals = Totals::default();
        let mut status = ExitCode::SUCCESS;
        for hand in self.workers {
            match hand.thread.join() {
                Ok(Ok(counted)) => totals.add(&counted),
                Ok(Err(e)) => status = report::failure(&e),
                Err(_) => status = report::failure(&io::Error::other("a worker has panicked")),
            }
        }
        self.printing.finish(&totals);
        status
    }

    /// Says at start what each listener and this host allow, and what to do if that is not enough.
    fn announce(&self) {
        for (bound, listen) in self.listeners.iter().zip(&self.settings.listeners) {
            let wish = listen.wish(self.settings.workers);
            let facts = match ServerFacts::read(wish) {
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
                "listening on {} ({}); fast open queue {queue}, backlog {backlog}{workers}; \
                 net.ipv4.tcp_fastopen {}",
                bound.address,
                bound.service.kind(),
                facts.tcp_fastopen,
            );
            for finding in facts.findings(wish) {
                // The one who listens there is this server.
                if !matches!(finding, Finding::AddressTaken { .. }) {
                    log::warn!("{finding}");
                }
            }
        }
        log::info!("keys: {}", self.keys);
    }
}

impl Hand {
    fn start(
        number: usize,
        shared: &Arc<Shared>,
        keys: KeyView,
        forensics: Forensics,
        printer: Option<Printer>,
    ) -> io::Result<Self> {
        let shared = Arc::clone(shared);
        let (inbox, ready) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(format!("worker {number}")).spawn(move || {
            let worker = Worker::new(Arc::clone(&shared), keys, forensics, printer)?;
            let _ = inbox.send(worker.inbox());
            let totals = worker.run();
            shared.supervisor.wake()?;
            totals
        })?;
        match ready.recv() {
            Ok(inbox) => Ok(Self { inbox, thread }),
            Err(_) => match thread.join() {
                Ok(Err(e)) => Err(e),
                _ => Err(io::Error::other("a worker can't start")),
            },
        }
    }
}

fn all_sockets(listeners: &[Bound]) -> impl Iterator<Item = &FastOpenListener> {
    listeners.iter().flat_map(|bound| bound.sockets.iter().map(AsRef::as_ref))
}

/// Reads what the listeners' services need.
fn prepare(settings: &Settings) -> io::Result<Vec<Prepared>> {
    settings.listeners.iter().map(|listen| Prepared::new(&listen.service)).collect()
}

/// Sees the packets of the listener's connections, if that is wanted.
fn tracer(settings: &Settings) -> Result<Option<Tracer>, ExitCode> {
    if !settings.trace && settings.pcap.is_none() {
        return Ok(None);
    }
    let draw = settings.trace && settings.format == Format::Text;
    let colour = colour_allowed(&io::stdout());
    let addresses: Vec<_> = settings.listeners.iter().map(|listen| listen.address).collect();
    let mut tracer =
        Tracer::start(&addresses, draw, colour).map_err(|e| report::cannot_trace(&e))?;
    if let Some(file) = &settings.pcap {
        tracer.write_to(file).map_err(|e| {
            let message = format!("can't write {}: {e}", file.display());
            report::failure(&io::Error::new(e.kind(), message))
        })?;
    }
    Ok(Some(tracer))
}
