//! The event loop of one thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use tfo_core::connection::TcpState;
use tfo_core::diagnosis::{self, Evidence};
use tfo_core::observer::{ArrivalRecord, plain_outcome};
use tfo_core::socket::{Arrival, ArrivalSyn, FastOpenListener};

use super::connection::{Connection, Kept, Step, Tools};
use super::forensics::Forensics;
use super::inbox::{Inbox, Order};
use super::plan::Plan;
use super::sources::Sources;
use crate::keys::KeyView;
use crate::report::{Ended, Printer, Totals};
use crate::service::Out;
use crate::service::http::Date;

const ORDERS: Token = Token(usize::MAX);
/// The first listener's token. Those of connections are below: twice the index is the client's socket.
const LISTENERS: usize = usize::MAX / 2;
/// How many connections are accepted before those that are open have their turn.
const ACCEPTS: usize = 64;
/// How long accepting pauses when the process has no descriptors left, or connections enough.
const PAUSE: Duration = Duration::from_millis(100);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) open: AtomicUsize,
    /// The most that may be.
    pub(super) most: AtomicUsize,
    pub(super) sources: Sources,
    /// Workers that have stopped accepting.
    pub(super) stopped: AtomicUsize,
    /// Wakes the supervisor.
    pub(super) supervisor: Waker,
}

/// Serves the connections of its own listeners.
pub(super) struct Worker {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    poll: Poll,
    /// By the number that the supervisor gave them.
    listening: Vec<Option<Listening>>,
    keys: KeyView,
    forensics: Forensics,
    connections: Slab<Connection>,
    printer: Option<Printer>,
    totals: Totals,
    accept_after: Option<Instant>,
    starved: bool,
    /// Connections that had their turn cut short.
    again: Vec<usize>,
    next_tick: Instant,
    drain_until: Option<Instant>,
    /// What ends the connections that are open when draining is over.
    cut_by: &'static str,
    tools: Tools,
}

struct Listening {
    listener: Arc<FastOpenListener>,
    plan: Rc<Plan>,
    /// Its backlog may hold connections.
    ready: bool,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        keys: KeyView,
        forensics: Forensics,
        printer: Option<Printer>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), ORDERS)?));
        Ok(Self {
            shared,
            inbox,
            poll,
            listening: Vec::new(),
            keys,
            forensics,
            connections: Slab::new(),
            printer,
            totals: Totals::default(),
            accept_after: None,
            starved: false,
            again: Vec::new(),
            next_tick: Instant::now() + TICK,
            drain_until: None,
            cut_by: "drain-timeout",
            tools: Tools {
                buffer: vec![0; 64 * 1024].into_boxed_slice(),
                out: Out::default(),
                date: Date::new(SystemTime::now()),
            },
        })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Serves until it is told to stop and its connections have ended.
    pub(super) fn run(mut self) -> io::Result<Totals> {
        let mut events = Events::with_capacity(1024);
        while !self.is_over() {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            self.tools.date.refresh(SystemTime::now());
            for event in &events {
                match event.token() {
                    ORDERS => self.obey()?,
                    Token(token) => match token.checked_sub(LISTENERS) {
                        Some(number) => self.mark_ready(number),
                        None => self.drive(token / 2),
                    },
                }
            }
            for index in std::mem::take(&mut self.again) {
                self.drive(index);
            }
            for number in 0..self.listening.len() {
                self.accept_some(number, ACCEPTS);
            }
            self.tick();
        }
        for index in 0..self.connections.capacity() {
            self.end(index, Some(self.cut_by));
        }
        Ok(self.totals)
    }

    fn is_over(&self) -> bool {
        self.drain_until.is_some_and(|until| self.connections.is_empty() || until <= Instant::now())
    }

    fn timeout(&self) -> Duration {
        let backlog = self.listening.iter().flatten().any(|listening| listening.ready);
        if !self.again.is_empty() || (backlog && self.may_accept()) {
            return Duration::ZERO;
        }
        let after = self.accept_after.filter(|_| backlog);
        let wake = [Some(self.next_tick), after, self.drain_until].into_iter().flatten().min();
        wake.unwrap_or(self.next_tick).saturating_duration_since(Instant::now())
    }

    fn obey(&mut self) -> io::Result<()> {
        for order in self.inbox.take() {
            match order {
                Order::Listen { number, listener, plan } => self.listen(number, listener, plan)?,
                Order::Close { number } => self.stop_accepting(number),
                Order::Drain { until } => {
                    for number in 0..self.listening.len() {
                        self.stop_accepting(number);
                    }
                    self.drain_until = Some(until);
                    self.shared.stopped.fetch_add(1, Ordering::Relaxed);
                    self.shared.supervisor.wake()?;
                }
                Order::Cut(why) => {
                    self.cut_by = why;
                    self.drain_until = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    /// Begins with a listener, or goes on with it under another plan.
    fn listen(
        &mut self,
        number: usize,
        listener: Arc<FastOpenListener>,
        plan: Box<Plan>,
    ) -> io::Result<()> {
        if self.listening.len() <= number {
            self.listening.resize_with(number + 1, || None);
        }
        let Some(place) = self.listening.get_mut(number) else { return Ok(()) };
        let plan = Rc::from(plan);
        match place {
            Some(listening) => listening.plan = plan,
            None => {
                let fd = listener.as_fd().as_raw_fd();
                let token = Token(LISTENERS + number);
                self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
                *place = Some(Listening { listener, plan, ready: true });
            }
        }
        Ok(())
    }

    /// What waits in the backlog may have handed over its data already: it is served.
    fn stop_accepting(&mut self, number: usize) {
        self.mark_ready(number);
        while self.accept_some(number, usize::MAX) {}
        if let Some(place) = self.listening.get_mut(number) {
            *place = None;
        }
    }

    fn mark_ready(&mut self, number: usize) {
        if let Some(Some(listening)) = self.listening.get_mut(number) {
            listening.ready = true;
        }
    }

    fn may_accept(&self) -> bool {
        self.shared.open.load(Ordering::Relaxed) < self.shared.most.load(Ordering::Relaxed)
            && self.accept_after.is_none_or(|at| at <= Instant::now())
    }

    /// Accepts up to so many; whether there may be more.
    fn accept_some(&mut self, number: usize, most: usize) -> bool {
        let Some(Some(listening)) = self.listening.get(number) else { return false };
        if !listening.ready {
            return false;
        }
        let plan = Rc::clone(&listening.plan);
        let listener = Arc::clone(&listening.listener);
        for _ in 0..most {
            if !self.may_accept() {
                // Another worker's connection may make room.
                self.accept_after.get_or_insert_with(|| Instant::now() + PAUSE);
                return false;
            }
            self.accept_after = None;
            match self.accept(&listener, &plan) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.mark_waited(number);
                    return false;
                }
                Err(e) if FastOpenListener::is_of_one_connection(&e) => {
                    log::debug!("a connection was gone before it was accepted: {e}");
                }
                Err(e) => {
                    self.accept_after = Some(Instant::now() + PAUSE);
                    if !std::mem::replace(&mut self.starved, true) {
                        log::warn!(
                            "{}",
                            accept_advice(&e, self.shared.open.load(Ordering::Relaxed))
                        );
                    }
                    return false;
                }
            }
        }
        true
    }

    /// Nobody waits to be accepted.
    fn mark_waited(&mut self, number: usize) {
        if let Some(Some(listening)) = self.listening.get_mut(number) {
            listening.ready = false;
        }
        // Not with the first that is accepted: the next may want in vain again, and each of those
        // who wait would make two lines.
        if std::mem::take(&mut self.starved) {
            log::info!("accepting again: nobody waits any more");
        }
    }

    fn accept(&mut self, listener: &FastOpenListener, plan: &Rc<Plan>) -> io::Result<()> {
        let mut connection = if plan.look {
            let accepted = listener.accept()?;
            plan.observer.accepted();
            let mut connection =
                Connection::new(accepted.stream, accepted.arrival.peer, Rc::clone(plan));
            self.look(&mut connection, &accepted.arrival);
            if connection.plan.await_handshake && accepted.arrival.info.state == TcpState::SynRecv {
                connection.await_handshake();
            }
            connection
        } else {
            let (stream, peer) = listener.accept_unseen()?;
            plan.observer.accepted();
            let mut connection = Connection::new(stream, peer, Rc::clone(plan));
            if connection.plan.await_handshake {
                connection.await_handshake();
            }
            connection
        };
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        if let Some(most) = connection.plan.limits.connections_per_source {
            connection.counted = self.shared.sources.enter(connection.peer.ip(), most);
            if !connection.counted {
                self.over(connection, Some("connections-per-source"));
                return Ok(());
            }
        }
        let index = self.connections.insert(connection);
        // A SYN's data is there already: served before anyone asks the poll.
        self.drive(index);
        Ok(())
    }

    /// What happened at the arrival.
    fn look(&mut self, connection: &mut Connection, arrival: &Arrival) {
        let plan = &connection.plan;
        let cookie_origin = self.forensics.origin(arrival, self.keys.ring());
        if let Some(origin) = cookie_origin {
            self.totals.cookie(origin);
        }
        let plain = plain_outcome(arrival);
        // A cookie was asked for, or data came and the kernel did not take it. That is rare, and only
        // the counters tell what came of it: now, before others come and count as well.
        let evidence = plain.is_none().then(|| plan.observer.full_evidence(arrival));
        connection.verdict = match &evidence {
            None => plain.map(|outcome| (outcome, None)),
            Some(evidence) => {
                let verdict = diagnosis::judge(&Evidence::new(None, Some(evidence.clone())));
                Some((verdict.outcome, verdict.cause))
            }
        };
        if let ArrivalSyn::Saved(syn) = &arrival.syn {
            self.totals.syn(syn.payload_len());
        }
        if plan.keep {
            let record = ArrivalRecord::from(arrival);
            connection.kept = Some(Box::new(Kept { record, evidence, cookie_origin }));
        }
    }

    fn drive(&mut self, index: usize) {
        // An event may be older than the connection's end.
        let Some(connection) = self.connections.get_mut(index) else { return };
        let failed = match connection.drive(&mut self.tools) {
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
        self.over(connection, why);
        self.accept_after = None;
    }

    /// Counts and tells a connection that has ended, and closes it.
    fn over(&mut self, mut connection: Connection, why: Option<&str>) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if connection.counted {
            self.shared.sources.leave(connection.peer.ip());
        }
        self.totals.ended(connection.verdict, connection.bytes_in, connection.bytes_out);
        let Some(printer) = &self.printer else { return };
        let evidence = connection.evidence();
        printer.connection(Box::new(Ended {
            peer: connection.peer,
            evidence,
            counted_as: connection.verdict.map(|(outcome, _)| outcome),
            cookie_origin: connection.kept.as_ref().and_then(|kept| kept.cookie_origin),
            service: connection.plan.service.kind(),
            duration: connection.started.elapsed(),
            bytes_in: connection.bytes_in,
            bytes_out: connection.bytes_out,
            cut_short: why.map(str::to_owned),
        }));
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        let late: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.deadline <= now)
            .map(|(index, _)| index)
            .collect();
        for index in late {
            let why = self.connections.get(index).map_or("", Connection::late);
            self.end(index, Some(why));
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
    poll.registry().register(&mut SourceFd(&fd), Token(2 * index), interest)
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
