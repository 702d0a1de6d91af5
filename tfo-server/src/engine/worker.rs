//! The event loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use slab::Slab;
use tfo_core::diagnosis::{self, Evidence};
use tfo_core::observer::ServerObserver;
use tfo_core::socket::{Arrival, ArrivalSyn, FastOpenListener};

use super::connection::{Connection, Step};
use super::forensics::Forensics;
use super::signals::Signals;
use crate::config::Settings;
use crate::keys::Keys;
use crate::report::{Ended, Reporter};
use crate::service;

const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const HANGUP: Token = Token(usize::MAX - 2);
/// How many connections are accepted before those that are open have their turn.
const ACCEPTS: usize = 64;
/// How long accepting pauses when the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// How often deadlines are looked at, and the host's settings read again.
const TICK: Duration = Duration::from_secs(1);

/// Serves the connections of one listener.
pub(super) struct Worker<'a> {
    settings: &'a Settings,
    poll: Poll,
    /// `None` once it stops accepting.
    listener: Option<FastOpenListener>,
    keys: Keys,
    forensics: Forensics,
    signals: Signals,
    /// SIGHUP, where it has a meaning: elsewhere it ends a program whose terminal is gone.
    hangup: Option<Signals>,
    connections: Slab<Connection>,
    observer: ServerObserver,
    reporter: Reporter,
    /// The backlog may hold connections.
    backlog_ready: bool,
    accept_after: Option<Instant>,
    starved: bool,
    /// Connections that had their turn cut short.
    again: Vec<usize>,
    next_tick: Instant,
    drain_until: Option<Instant>,
    /// What ends the connections that are open when draining is over.
    cut_by: &'static str,
    buffer: Box<[u8]>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        keys: Keys,
        listener: FastOpenListener,
        reporter: Reporter,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let fd = listener.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), LISTENER, Interest::READABLE)?;
        Ok(Self {
            settings,
            signals: Signals::new(poll.registry(), SIGNALS, &[SIGINT, SIGTERM])?,
            hangup: keys
                .are_own()
                .then(|| Signals::new(poll.registry(), HANGUP, &[SIGHUP]))
                .transpose()?,
            keys,
            forensics: Forensics::default(),
            poll,
            observer: ServerObserver::new(&listener),
            listener: Some(listener),
            connections: Slab::new(),
            reporter,
            backlog_ready: false,
            accept_after: None,
            starved: false,
            again: Vec::new(),
            next_tick: Instant::now() + TICK,
            drain_until: None,
            cut_by: "drain-timeout",
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
        })
    }

    pub(super) fn listener(&self) -> Option<&FastOpenListener> {
        self.listener.as_ref()
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Serves until a signal has come and its connections have ended.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.is_over() {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.backlog_ready = true,
                    SIGNALS => self.signalled(),
                    HANGUP => self.reload(),
                    Token(index) => self.drive(index),
                }
            }
            for index in std::mem::take(&mut self.again) {
                self.drive(index);
            }
            self.accept_some();
            self.tick();
        }
        for connection in self.connections.drain() {
            let ended = end(self.settings, &self.observer, connection, Some(self.cut_by));
            self.reporter.connection(&ended);
        }
        self.reporter.totals();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.drain_until.is_some_and(|until| self.connections.is_empty() || until <= Instant::now())
    }

    fn timeout(&self) -> Duration {
        if !self.again.is_empty() || (self.backlog_ready && self.may_accept()) {
            return Duration::ZERO;
        }
        let wake = [Some(self.next_tick), self.accept_after, self.drain_until];
        let wake = wake.into_iter().flatten().min().unwrap_or(self.next_tick);
        wake.saturating_duration_since(Instant::now())
    }

    /// The first signal ends accepting and lets the connections end; the second ends those too.
    fn signalled(&mut self) {
        let count = self.signals.take();
        if count == 0 {
            return;
        }
        if self.drain_until.is_some() || count > 1 {
            log::info!("second signal: closing {} now", count_of(self.connections.len()));
            self.cut_by = "second signal";
            self.drain_until = Some(Instant::now());
            self.listener = None;
            return;
        }
        // What waits in the backlog may have handed over its data already.
        self.backlog_ready = true;
        while self.backlog_ready && self.may_accept() {
            self.accept_some();
        }
        self.listener = None;
        self.drain_until = Some(Instant::now() + self.settings.limits.drain_timeout);
        log::info!(
            "stopped accepting; {} may take {:?} to end",
            count_of(self.connections.len()),
            self.settings.limits.drain_timeout
        );
    }

    /// Reads the keys again.
    fn reload(&mut self) {
        let asked = self.hangup.as_mut().is_some_and(|hangup| hangup.take() > 0);
        if let Some(listener) = self.listener.as_ref().filter(|_| asked) {
            self.keys.look(SystemTime::now(), true, listener);
        }
    }

    fn may_accept(&self) -> bool {
        self.connections.len() < self.settings.limits.connections
            && self.accept_after.is_none_or(|at| at <= Instant::now())
    }

    fn accept_some(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listener.as_ref().filter(|_| self.backlog_ready) else {
                return;
            };
            if !self.may_accept() {
                return;
            }
            self.accept_after = None;
            match listener.accept() {
                Ok(accepted) => {
                    self.observer.accepted();
                    let session = service::session(self.settings.listeners[0].service.kind());
                    let mut connection =
                        Connection::new(accepted, session, self.settings.limits.idle_timeout);
                    connection.cookie_origin =
                        self.forensics.origin(&connection.arrival, self.keys.ring());
                    if needs_counters(&connection.arrival) {
                        // Now, before others come and count as well.
                        connection.evidence =
                            Some(self.observer.full_evidence(&connection.arrival));
                    }
                    let index = self.connections.insert(connection);
                    // A SYN's data is there already: served before anyone asks the poll.
                    self.drive(index);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.backlog_ready = false;
                    // Not with the first that is accepted: the next may want in vain again, and
                    // each of those who wait would make two lines.
                    if std::mem::take(&mut self.starved) {
                        log::info!("accepting again: nobody waits any more");
                    }
                }
                Err(e) if FastOpenListener::is_of_one_connection(&e) => {
                    log::debug!("a connection was gone before it was accepted: {e}");
                }
                Err(e) => {
                    self.accept_after = Some(Instant::now() + PAUSE);
                    if !std::mem::replace(&mut self.starved, true) {
                        log::warn!("{}", accept_advice(&e, self.connections.len()));
                    }
                    return;
                }
            }
        }
    }

    fn drive(&mut self, index: usize) {
        // An event may be older than the connection's end.
        let Some(connection) = self.connections.get_mut(index) else { return };
        let idle = self.settings.limits.idle_timeout;
        let failed = match connection.drive(&mut self.buffer, &mut self.observer, idle) {
            Ok(Step::Wait) => match register(&self.poll, connection, index) {
                Ok(()) => return,
                Err(e) => Some(describe(&e)),
            },
            Ok(Step::Again) => match register(&self.poll, connection, index) {
                Ok(()) => return self.again.push(index),
                Err(e) => Some(describe(&e)),
            },
            Ok(Step::Done) => None,
            Err(e) => Some(describe(&e)),
        };
        self.end(index, failed.as_deref());
    }

    fn end(&mut self, index: usize, why: Option<&str>) {
        let Some(connection) = self.connections.try_remove(index) else { return };
        let ended = end(self.settings, &self.observer, connection, why);
        self.reporter.connection(&ended);
        self.accept_after = None;
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.observer.refresh();
        if let Some(listener) = &self.listener {
            self.keys.look(SystemTime::now(), false, listener);
        }
        self.reporter.tick();
        let late: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.deadline <= now)
            .map(|(index, _)| index)
            .collect();
        for index in late {
            self.end(index, Some("idle-timeout"));
        }
    }
}

/// Asks for the connection's events, once: many connections end before they need one.
fn register(poll: &Poll, connection: &mut Connection, index: usize) -> io::Result<()> {
    if connection.registered {
        return Ok(());
    }
    connection.registered = true;
    let fd = connection.stream().as_fd().as_raw_fd();
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut SourceFd(&fd), Token(index), interest)
}

/// What is known of a connection that is over.
fn end(
    settings: &Settings,
    observer: &ServerObserver,
    mut connection: Connection,
    why: Option<&str>,
) -> Ended {
    let evidence =
        connection.evidence.take().unwrap_or_else(|| observer.evidence(&connection.arrival));
    let verdict = diagnosis::judge(&Evidence::new(None, Some(evidence.clone())));
    Ended {
        evidence,
        verdict,
        cookie_origin: connection.cookie_origin,
        service: settings.listeners[0].service.kind(),
        duration: connection.started.elapsed(),
        bytes_in: connection.bytes_in,
        bytes_out: connection.bytes_out,
        cut_short: why.map(str::to_owned),
    }
}

/// A cookie was asked for, or data came in the SYN and the kernel did not take it. That is rare, and
/// only the counters tell what came of it.
fn needs_counters(arrival: &Arrival) -> bool {
    let ArrivalSyn::Saved(syn) = &arrival.syn else { return false };
    let asked = syn.fast_open().is_some_and(|option| option.is_request());
    asked || (syn.payload_len() > 0 && !arrival.info.syn_data)
}

/// Why a connection broke, without the number that the kernel has for it.
fn describe(e: &io::Error) -> String {
    match e.kind() {
        kind @ (io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::TimedOut) => kind.to_string(),
        _ => e.to_string(),
    }
}

fn count_of(open: usize) -> String {
    let noun = if open == 1 { "connection" } else { "connections" };
    format!("{open} open {noun}")
}

fn accept_advice(e: &io::Error, open: usize) -> String {
    if FastOpenListener::is_out_of_descriptors(e) {
        format!(
            "no descriptors left ({e}): {open} connections are served on, new ones wait. Raise the \
             limit (ulimit -n, LimitNOFILE= in systemd), or lower limits.connections"
        )
    } else {
        format!("accepting failed ({e}); trying again every {} ms", PAUSE.as_millis())
    }
}
