//! The event loop of one thread.

mod accepting;
mod reserve;
mod shared;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Token, Waker};
use slab::Slab;
use tfo_core::socket::FastOpenStream;

use super::budget::Share;
use super::connection::{Connection, Step, Tools};
use super::forensics::Forensics;
use super::inbox::{Inbox, Order};
use super::relay::Pipes;
use super::stats::{Count, Timing};
use super::why::{Cut, Why};
use crate::keys::KeyView;
use crate::report::{Ended, Printer};
use crate::service::Out;
use crate::service::http::Date;

use accepting::{BATCH, Listening};
use reserve::Reserve;

pub(super) use shared::Shared;

const ORDERS: Token = Token(usize::MAX);
/// The first listener's token. Those of connections are below: twice the index is the client's socket.
const LISTENERS: usize = usize::MAX / 2;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

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
    /// What the connections use, until they are closed.
    share: Share,
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
    /// Of the thread that serves the metrics.
    reserve: Option<Reserve>,
    tools: Tools,
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
        let pipes = Pipes::new(Arc::clone(&shared.budget));
        let share = Share::of(Arc::clone(&shared.budget));
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
            share,
            printer,
            accept_after: None,
            starved: false,
            again: Vec::new(),
            next_tick: Instant::now() + TICK,
            drain_until: None,
            stopped: false,
            cut_by: Cut::DrainTimeout,
            reserve: None,
            tools: Tools {
                buffer: vec![0; 64 * 1024].into_boxed_slice(),
                out: Out::default(),
                date: Date::new(SystemTime::now()),
                now: Instant::now(),
                ending: false,
                pipes,
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
            self.close_ended();
            for number in 0..self.listening.len() {
                self.accept_some(number, BATCH);
                self.close_when_empty(number);
            }
            self.note_stopped()?;
            self.tick();
            self.close_ended();
            self.refill_reserve();
        }
        for index in 0..self.connections.capacity() {
            self.end(index, Some(self.cut_by.into()));
        }
        self.close_ended();
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
        let ready = || self.listening.iter().flatten().filter(|listening| listening.ready);
        let next_try = |listening: &Listening| self.share.next_try(listening.plan.cost);
        let backlog = ready().any(|listening| next_try(listening).is_none());
        if !self.again.is_empty() || (backlog && self.may_accept()) {
            return Duration::ZERO;
        }
        let after = self.accept_after.filter(|_| backlog);
        let room = ready().filter_map(next_try).min();
        // Those whose clients wait for room stay open.
        let idle = self.listening.iter().flatten().filter(|listening| !listening.ready);
        let closing = idle.filter_map(|listening| listening.closing);
        let wake = [Some(self.next_tick), after, room, self.drain_until];
        let wake = wake.into_iter().flatten().chain(closing).min();
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
        self.share.closing(connection.plan.cost);
        self.ended.push(connection.into_stream());
    }

    /// Closes those that are over. Only then are their descriptors free for others.
    fn close_ended(&mut self) {
        self.ended.clear();
        self.share.closed();
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
