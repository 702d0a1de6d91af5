//! The event loop of one thread.

use std::io;
use std::net::SocketAddr;
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
use tfo_core::program::one_line;
use tfo_core::socket::{Arrival, ArrivalSyn, FastOpenListener, FastOpenStream};

use super::connection::{Connection, Kept, Step, Tools};
use super::forensics::Forensics;
use super::inbox::{Inbox, Order};
use super::plan::Plan;
use super::relay::Pipes;
use super::sources::Sources;
use super::stats::{Count, Timing};
use super::why::{Cut, Why};
use crate::keys::KeyView;
use crate::report::{Ended, Printer};
use crate::service::Out;
use crate::service::http::Date;

const ORDERS: Token = Token(usize::MAX);
/// The first listener's token. Those of connections are below: twice the index is the client's socket.
const LISTENERS: usize = usize::MAX / 2;
/// How many connections are accepted before those that are open have their turn.
const ACCEPTS: usize = BATCH;
/// How many are accepted before the first of them is served.
const BATCH: usize = 64;
/// How long accepting pauses when the process has no descriptors left, or connections enough.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a listener that lets nobody in any more is kept: a SYN that the kernel was at by then may still
/// bring a connection.
const LAST: Duration = Duration::from_millis(20);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) open: AtomicUsize,
    /// The most that may be.
    pub(super) most: AtomicUsize,
    pub(super) sources: Sources,
    /// Workers that can't accept, for want of descriptors.
    pub(super) starved: AtomicUsize,
    /// Workers that have stopped accepting.
    pub(super) stopped: AtomicUsize,
    /// Workers that have answered since the supervisor asked.
    pub(super) answered: AtomicUsize,
    /// Wakes the supervisor.
    pub(super) supervisor: Arc<Waker>,
}

impl Shared {
    /// So many connections may be open at once.
    pub(super) fn new(most: usize, workers: usize, supervisor: Arc<Waker>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            sources: Sources::default(),
            starved: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
            // As if each had been asked, and had answered.
            answered: AtomicUsize::new(workers),
            supervisor,
        }
    }

    /// Somebody waits in vain.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed) > 0
    }

    /// No more may be accepted.
    pub(super) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed)
    }
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
    /// Accepted, and not begun with yet.
    batch: Vec<(FastOpenStream, SocketAddr)>,
    /// Over, and not closed yet.
    ended: Vec<FastOpenStream>,
    printer: Option<Printer>,
    accept_after: Option<Instant>,
    starved: bool,
    /// Connections that had their turn cut short.
    again: Vec<usize>,
    next_tick: Instant,
    drain_until: Option<Instant>,
    /// Its listeners are closed for good.
    stopped: bool,
    /// What ends the connections that are open when draining is over.
    cut_by: Cut,
    tools: Tools,
}

struct Listening {
    listener: Arc<FastOpenListener>,
    plan: Rc<Plan>,
    /// Its backlog may hold connections.
    ready: bool,
    /// It lets nobody in any more, and closes then, once nobody waits.
    closing: Option<Instant>,
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
            batch: Vec::with_capacity(BATCH),
            ended: Vec::with_capacity(BATCH),
            printer,
            accept_after: None,
            starved: false,
            again: Vec::new(),
            next_tick: Instant::now() + TICK,
            drain_until: None,
            stopped: false,
            cut_by: Cut::DrainTimeout,
            tools: Tools {
                buffer: vec![0; 64 * 1024].into_boxed_slice(),
                out: Out::default(),
                date: Date::new(SystemTime::now()),
                now: Instant::now(),
                ending: false,
                pipes: Pipes::default(),
            },
        })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Serves until it is told to stop and its connections have ended.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.is_over() {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            self.tools.date.refresh(SystemTime::now());
            self.tools.now = Instant::now();
            for event in &events {
                match event.token() {
                    ORDERS => self.obey()?,
                    Token(token @ LISTENERS..) => self.mark_ready(token - LISTENERS),
                    Token(token) => {
                        if let Some(connection) = self.connections.get_mut(token / 2) {
                            connection.event(token % 2 == 1, event);
                        }
                        self.drive(token / 2);
                    }
                }
            }
            for index in std::mem::take(&mut self.again) {
                self.drive(index);
            }
            self.ended.clear();
            for number in 0..self.listening.len() {
                self.accept_some(number, ACCEPTS);
                self.close_when_empty(number);
            }
            self.note_stopped()?;
            self.tick();
            self.ended.clear();
        }
        for index in 0..self.connections.capacity() {
            self.end(index, Some(self.cut_by.into()));
        }
        for listening in self.listening.iter().flatten() {
            match listening.listener.waiting() {
                Ok(0) | Err(_) => {}
                Ok(lost) => {
                    log::warn!("{}: {lost} connections waited in vain", listening.plan.address);
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let idle = self.connections.is_empty() && self.listening.iter().all(Option::is_none);
        self.drain_until.is_some_and(|until| idle || until <= Instant::now())
    }

    fn timeout(&self) -> Duration {
        let backlog = self.listening.iter().flatten().any(|listening| listening.ready);
        if !self.again.is_empty() || (backlog && self.may_accept()) {
            return Duration::ZERO;
        }
        let after = self.accept_after.filter(|_| backlog);
        let closing = self.listening.iter().flatten().filter_map(|listening| listening.closing);
        let wake = [Some(self.next_tick), after, self.drain_until];
        let wake = wake.into_iter().flatten().chain(closing.filter(|_| !backlog)).min();
        wake.unwrap_or(self.next_tick).saturating_duration_since(Instant::now())
    }

    fn obey(&mut self) -> io::Result<()> {
        for order in self.inbox.take() {
            match order {
                Order::Listen { number, listener, plan } => self.listen(number, listener, plan)?,
                Order::Close { number } => self.stop_accepting(number),
                Order::Answer => {
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                }
                Order::Drain { until } => {
                    for number in 0..self.listening.len() {
                        self.stop_accepting(number);
                    }
                    self.drain_until = Some(until);
                    self.end_those_at_rest();
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
        if let Some(listening) = place {
            listening.plan = plan;
            return Ok(());
        }
        let fd = listener.as_fd().as_raw_fd();
        let token = Token(LISTENERS + number);
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        *place = Some(Listening { listener, plan, ready: true, closing: None });
        Ok(())
    }

    /// What waits in the backlog may have handed over its data already: it is served. Nobody else gets in, and
    /// once the backlog is empty the listener closes.
    fn stop_accepting(&mut self, number: usize) {
        let Some(Some(listening)) = self.listening.get_mut(number) else { return };
        listening.ready = true;
        let listener = &listening.listener;
        if listener.is_inherited() {
            // The socket outlives this server: who comes later waits for its next owner.
            let waiting = listener.waiting().unwrap_or(0);
            self.accept_some(number, usize::try_from(waiting).unwrap_or(usize::MAX));
            return self.forget(number);
        }
        if let Err(e) = listener.let_nobody_in() {
            log::warn!(
                "{}: the last to come may be lost: {}",
                listening.plan.address,
                one_line(&e)
            );
        }
        listening.closing.get_or_insert_with(|| Instant::now() + LAST);
    }

    /// Who was answered and is kept for the next request would hold the drain up to its limit.
    fn end_those_at_rest(&mut self) {
        self.tools.ending = true;
        for index in 0..self.connections.capacity() {
            // The next request may have come by now.
            self.drive(index);
            if self.connections.get_mut(index).is_some_and(Connection::end_at_rest) {
                self.drive(index);
            }
        }
    }

    fn close_when_empty(&mut self, number: usize) {
        let Some(Some(listening)) = self.listening.get(number) else { return };
        // As long as there is no room for those who wait they keep it open, until the drain is over.
        if !listening.ready && listening.closing.is_some_and(|at| at <= Instant::now()) {
            self.forget(number);
        }
    }

    /// Closes a listener, unless another worker has it too.
    fn forget(&mut self, number: usize) {
        if let Some(place) = self.listening.get_mut(number)
            && let Some(listening) = place.take()
        {
            let fd = listening.listener.as_fd().as_raw_fd();
            if let Err(e) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
                log::debug!("{}: {e}", listening.plan.address);
            }
        }
    }

    /// Tells the supervisor, once.
    fn note_stopped(&mut self) -> io::Result<()> {
        if self.drain_until.is_some() && !self.stopped && self.listening.iter().all(Option::is_none)
        {
            self.stopped = true;
            self.shared.stopped.fetch_add(1, Ordering::Relaxed);
            self.shared.supervisor.wake()?;
        }
        Ok(())
    }

    fn mark_ready(&mut self, number: usize) {
        if let Some(Some(listening)) = self.listening.get_mut(number) {
            listening.ready = true;
        }
    }

    fn may_accept(&self) -> bool {
        !self.shared.is_full() && self.accept_after.is_none_or(|at| at <= Instant::now())
    }

    /// Accepts up to so many; whether there may be more.
    ///
    /// They are accepted in batches: all that wait, then each is served, then those that are done are closed.
    /// That takes a sixth less time than one after the other: each step finds its code and data at hand,
    /// and more of the handshakes' ends have come by then.
    fn accept_some(&mut self, number: usize, most: usize) -> bool {
        let Some(Some(listening)) = self.listening.get(number) else { return false };
        if !listening.ready {
            return false;
        }
        let plan = Rc::clone(&listening.plan);
        let listener = Arc::clone(&listening.listener);
        let mut left = most;
        while left > 0 {
            let batch = left.min(BATCH);
            let more = self.accept_batch(number, &listener, &plan, batch);
            left -= batch;
            let mut batch = std::mem::take(&mut self.batch);
            for (stream, peer) in batch.drain(..) {
                self.begin(&listener, &plan, stream, peer);
            }
            self.batch = batch;
            self.ended.clear();
            if !more {
                return false;
            }
        }
        true
    }

    /// Takes up to so many from the backlog; whether there may be more.
    fn accept_batch(
        &mut self,
        number: usize,
        listener: &FastOpenListener,
        plan: &Plan,
        most: usize,
    ) -> bool {
        while self.batch.len() < most {
            if !self.may_accept() {
                // Another worker's connection may make room.
                let now = Instant::now();
                if self.accept_after.is_none() {
                    plan.stats.add(Count::PausedByLimit, 1);
                }
                // A time that has gone by would make the loop spin.
                if self.accept_after.is_none_or(|at| at <= now) {
                    self.accept_after = Some(now + PAUSE);
                }
                return false;
            }
            self.accept_after = None;
            match listener.accept_unseen() {
                Ok(accepted) => {
                    self.shared.open.fetch_add(1, Ordering::Relaxed);
                    plan.observer.accepted();
                    self.batch.push(accepted);
                }
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
                        plan.stats.add(Count::PausedByDescriptors, 1);
                        self.shared.starved.fetch_add(1, Ordering::Relaxed);
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
            self.shared.starved.fetch_sub(1, Ordering::Relaxed);
            log::info!("accepting again: nobody waits any more");
        }
    }

    /// Serves a connection from now on.
    fn begin(
        &mut self,
        listener: &FastOpenListener,
        plan: &Rc<Plan>,
        stream: FastOpenStream,
        peer: SocketAddr,
    ) {
        let arrival = plan.look.then(|| listener.arrival(&stream, peer));
        let mut connection = Connection::new(stream, peer, Rc::clone(plan), self.tools.now);
        let mut unfinished = plan.await_handshake;
        match arrival {
            Some(Ok(arrival)) => {
                self.look(&mut connection, &arrival);
                unfinished &= arrival.info.state == TcpState::SynRecv;
            }
            Some(Err(e)) => log::debug!("{peer}: {}", one_line(&e)),
            None => {}
        }
        if unfinished {
            connection.await_handshake();
        }
        plan.stats.add(Count::Accepted, 1);
        plan.stats.add(Count::Verdict(connection.verdict), 1);
        if let Some(most) = plan.limits.connections_per_source {
            connection.counted = self.shared.sources.enter(peer.ip(), most);
            if !connection.counted {
                return self.over(connection, Some(Cut::PerSource.into()));
            }
        }
        let index = self.connections.insert(connection);
        // A SYN's data is there already: served before anyone asks the poll.
        self.drive(index);
    }

    /// What happened at the arrival.
    fn look(&mut self, connection: &mut Connection, arrival: &Arrival) {
        let plan = &connection.plan;
        let cookie_origin = self.forensics.origin(arrival, self.keys.ring());
        if let Some(origin) = cookie_origin {
            plan.stats.add(Count::Cookie(origin.into()), 1);
        }
        let outcome = plain_outcome(arrival);
        // A cookie was asked for, or data came and the kernel did not take it. That is rare, and only
        // the counters tell what came of it: now, before others come and count as well.
        let evidence = outcome.is_none().then(|| plan.observer.full_evidence(arrival));
        connection.verdict = match &evidence {
            None => outcome.map(|outcome| (outcome, None)),
            Some(evidence) => {
                let verdict = diagnosis::judge(&Evidence::new(None, Some(evidence.clone())));
                Some((verdict.outcome, verdict.cause))
            }
        };
        if let Some(rtt) = arrival.info.rtt.filter(|_| arrival.info.state != TcpState::SynRecv) {
            plan.stats.observe(Timing::Handshake, rtt);
        }
        if let ArrivalSyn::Saved(syn) = &arrival.syn {
            plan.stats.add(Count::SynBytes, syn.payload_len() as u64);
        }
        if plan.keep {
            let record = ArrivalRecord::from(arrival);
            let evidence = evidence.map(Box::new);
            connection.kept = Some(Box::new(Kept { record, evidence, cookie_origin }));
        }
    }

    fn drive(&mut self, index: usize) {
        // An event may be older than the connection's end.
        let Some(connection) = self.connections.get_mut(index) else { return };
        let failed = match connection.drive(&mut self.tools) {
            Ok(Step::Wait) => {
                self.next_tick = self.next_tick.min(connection.deadline);
                let tokens = [Token(2 * index), Token(2 * index + 1)];
                match connection.register(self.poll.registry(), tokens) {
                    Ok(()) => return,
                    Err(e) => Some(e.into()),
                }
            }
            // What comes meanwhile is there when it registers.
            Ok(Step::Again) => return self.again.push(index),
            Ok(Step::Done) => connection.failure().map(Why::from),
            Err(e) => Some(connection.failure().map_or_else(|| e.into(), Why::from)),
        };
        self.end(index, failed);
    }

    fn end(&mut self, index: usize, why: Option<Why>) {
        let Some(connection) = self.connections.try_remove(index) else { return };
        self.over(connection, why);
        self.accept_after = None;
    }

    /// Counts and tells a connection that has ended, and closes it.
    fn over(&mut self, mut connection: Connection, why: Option<Why>) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if connection.counted {
            self.shared.sources.leave(connection.peer.ip());
        }
        self.tools.now = Instant::now();
        let duration = self.tools.now.saturating_duration_since(connection.started);
        let stats = &connection.plan.stats;
        stats.add(Count::Closed, 1);
        stats.observe(Timing::Service, duration);
        if let Some(why) = &why {
            stats.add(Count::Cut(why.cut), 1);
        }
        if let Some(printer) = &self.printer {
            printer.connection(Self::told(&mut connection, duration, why));
        }
        self.ended.push(connection.into_stream());
    }

    fn told(connection: &mut Connection, duration: Duration, why: Option<Why>) -> Box<Ended> {
        let evidence = connection.evidence();
        Box::new(Ended {
            peer: connection.peer,
            client: connection.client(),
            upstream: connection.upstream(),
            evidence,
            counted_as: connection.verdict.map(|(outcome, _)| outcome),
            cookie_origin: connection.kept.as_ref().and_then(|kept| kept.cookie_origin),
            service: connection.plan.service.kind(),
            duration,
            bytes_in: connection.bytes_in,
            bytes_out: connection.bytes_out,
            cut_short: why.map(|why| why.to_string()),
        })
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.tools.pipes.close_unused();
        self.next_tick = now + TICK;
        let mut late = Vec::new();
        for (index, connection) in &self.connections {
            if connection.deadline <= now {
                late.push(index);
            } else {
                self.next_tick = self.next_tick.min(connection.deadline);
            }
        }
        // Many deadlines close to each other cost one look.
        self.next_tick = self.next_tick.max(now + TICK / 20);
        for index in late {
            match self.connections.get_mut(index).and_then(Connection::late) {
                Some(why) => self.end(index, Some(why.into())),
                None => self.drive(index),
            }
        }
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
