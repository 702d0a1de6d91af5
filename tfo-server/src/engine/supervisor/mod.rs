//! The main thread.

mod reload;

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tfo_core::host::readiness::ServerFacts;
use tfo_core::observer::ServerObserver;
use tfo_core::program::{output::colour_allowed, value::Format};
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
use crate::keys::{KeyView, Keys};
use crate::process::activation::{ActivationError, Inherited};
use crate::process::descriptors::{self, Need};
use crate::process::notify::{self, Watchdog};
use crate::process::privileges::Rights;
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
    watchdog: Option<Watchdog>,
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
        let rights = Rights::find(settings.user.as_deref(), settings.group.as_deref())
            .map_err(|e| report::settings_error(&e))?;
        let passed = passed(&settings).map_err(|e| report::settings_error(&e))?;
        descriptors::raise(Need::of(&settings));
        let mut keys = Keys::load(&settings.keys, SystemTime::now())
            .map_err(|e| report::settings_error(&e))?;
        let services = prepare(&settings).map_err(|e| report::settings_error(&e))?;
        let mut listeners = Vec::with_capacity(services.len());
        let needs = settings.listeners.iter().zip(services).zip(passed);
        for (number, ((listen, service), passed)) in needs.enumerate() {
            let bound = Bound::new(number, listen, service, &keys, settings.workers, passed)
                .map_err(|e| report::cannot_listen(listen.address, &e))?;
            listeners.push(bound);
        }
        let tracer = tracer(&settings)?;
        // A namespace without keys has made one with its first listener.
        keys.look(SystemTime::now(), false, all_sockets(&listeners));
        // The last that needs them is done, and no other thread has them yet.
        if let Some(rights) = rights {
            rights.take().map_err(|e| report::failure(&e))?;
        }
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
            // As if each had been asked, and had answered.
            answered: AtomicUsize::new(settings.workers),
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
            watchdog: Watchdog::from_environment(Instant::now()),
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
        notify::ready(&self.status());
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
            let watchdog = self.watchdog.as_ref().map(Watchdog::next);
            let wake = watchdog.map_or(next_tick, |at| at.min(next_tick));
            let wait = wake.saturating_duration_since(Instant::now());
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
            self.watch()?;
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

    /// Tells systemd that all is well, as long as each worker answers.
    fn watch(&mut self) -> io::Result<()> {
        let (shared, workers) = (&self.shared, self.workers.len());
        // At the end workers go one by one; it has limits of its own.
        let alive =
            || self.stopping.is_some() || shared.answered.load(Ordering::Relaxed) >= workers;
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        if watchdog.look(Instant::now(), alive) {
            self.shared.answered.store(0, Ordering::Relaxed);
            self.order_all(|| Order::Answer)?;
        }
        Ok(())
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
        let limit = self.settings.limits.drain_timeout;
        notify::stopping("serving those who are connected", limit);
        let until = Instant::now() + limit;
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
            let sockets = bound.sockets.iter().cycle();
            for ((hand, socket), observer) in self.workers.iter().zip(sockets).zip(observers) {
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

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        let addresses: Vec<_> =
            self.listeners.iter().map(|bound| bound.address.to_string()).collect();
        format!("listening on {}", addresses.join(", "))
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
                "listening on {} ({}); fast open queue {queue}, backlog {backlog}{workers}; \
                 net.ipv4.tcp_fastopen {}",
                bound.address,
                bound.service.kind(),
                facts.tcp_fastopen,
            );
            for finding in facts.findings(wish) {
                log::warn!("{finding}");
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

/// The sockets of each listener that were passed to this process.
fn passed(settings: &Settings) -> Result<Vec<Vec<OwnedFd>>, ActivationError> {
    let mut inherited = Inherited::from_environment()?;
    let take = |listen: &ListenSettings| inherited.take(listen.address, settings.workers);
    let passed = settings.listeners.iter().map(take).collect::<Result<_, _>>()?;
    inherited.all_taken().map(|()| passed)
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
