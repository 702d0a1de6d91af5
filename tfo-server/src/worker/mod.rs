//! A thread that serves, with an event loop and listeners of its own. Workers share nothing but counters.
//!
//! 1. Nothing here blocks: sockets are nonblocking, and log lines are queued.
//! 2. In each pass of the loop a connection has at most one turn, and a turn is bounded ([`TurnBudget`]).
//! 3. A connection is in each queue at most once ([`Connection::queued`]). An index in a queue may be older than
//!    its connection.
//! 4. A connection's descriptors are taken before it is accepted, and given back once they are closed
//!    ([`DescriptorShare`]).
//! 5. Each connection that was accepted is counted, logged and closed in one place ([`Worker::finish`]), in
//!    whichever way the thread ends.
//!
//! [`TurnBudget`]: crate::connection::turn::TurnBudget

mod accepting;
pub(crate) mod command;
pub(crate) mod handle;
mod listener;
mod reserve;
pub(crate) mod shared;
mod source_limiter;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use std::{io, mem, thread};

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};
use slab::Slab;
use tfo_core::socket::FastOpenStream;

use crate::access_log::{AccessLog, ConnectionEntry};
use crate::arrival::cookie_origin::CookieForensics;
use crate::close_reason::{CloseKind, CloseReason};
use crate::connection::Connection;
use crate::connection::budget::DescriptorShare;
use crate::connection::pipes::Pipes;
use crate::connection::turn::{
    DriveOutcome, InputBuffer, OutputBuffer, TurnContext, WorkerScratch,
};
use crate::keys::KeyView;
use crate::metrics::stats::{Count, Timing};
use crate::service::http::Date;

use command::{CommandQueue, WorkerCommand};
use listener::{ACCEPT_BATCH, LISTENERS, WorkerListener};
use reserve::DescriptorReserve;
use shared::SharedState;
use source_limiter::SourceLimiter;

const COMMANDS: Token = Token(usize::MAX);
/// The longest time between two checks of deadlines.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The most bytes that are read at a time.
const INPUT_BUFFER: usize = 64 * 1024;

/// Serves the connections of its own listeners.
pub(crate) struct Worker {
    shared: Arc<SharedState>,
    commands: Arc<CommandQueue>,
    poll: Poll,
    /// By the number that the supervisor gave them.
    listeners: Vec<Option<WorkerListener>>,
    keys: KeyView,
    forensics: CookieForensics,
    connections: Slab<Connection>,
    /// Accepted, and not started yet.
    batch: Vec<(FastOpenStream, SocketAddr)>,
    /// Finished, and not closed yet.
    ended: Vec<FastOpenStream>,
    /// The descriptors that the connections use, until they are closed.
    descriptors: DescriptorShare,
    access_log: Option<AccessLog>,
    accept_after: Option<Instant>,
    starved: bool,
    /// Connections that something has happened to, each once ([`Connection::queued`]).
    ready: Vec<usize>,
    /// Connections whose turn was over before they were done, each once.
    again: Vec<usize>,
    next_check: Instant,
    drain_until: Option<Instant>,
    /// Its listeners are closed for good.
    stopped: bool,
    /// What ends the connections that are open when draining is over.
    stop_reason: CloseKind,
    /// Of the thread that serves the metrics.
    reserve: Option<DescriptorReserve>,
    scratch: WorkerScratch,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<SharedState>,
        keys: KeyView,
        forensics: CookieForensics,
        access_log: Option<AccessLog>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let commands = Arc::new(CommandQueue::new(Waker::new(poll.registry(), COMMANDS)?));
        let pipes = Pipes::new(Arc::clone(&shared.budget));
        let descriptors = DescriptorShare::new(Arc::clone(&shared.budget));
        Ok(Self {
            shared,
            commands,
            poll,
            listeners: Vec::new(),
            keys,
            forensics,
            connections: Slab::new(),
            batch: Vec::with_capacity(ACCEPT_BATCH),
            ended: Vec::with_capacity(ACCEPT_BATCH),
            descriptors,
            access_log,
            accept_after: None,
            starved: false,
            ready: Vec::new(),
            again: Vec::new(),
            next_check: Instant::now() + CHECK_INTERVAL,
            drain_until: None,
            stopped: false,
            stop_reason: CloseKind::DrainTimeout,
            reserve: None,
            scratch: WorkerScratch {
                input: InputBuffer::new(INPUT_BUFFER),
                turn: TurnContext {
                    out: OutputBuffer::default(),
                    pipes,
                    date: Date::new(SystemTime::now()),
                    now: Instant::now(),
                    ending: false,
                },
            },
        })
    }

    fn commands(&self) -> Arc<CommandQueue> {
        Arc::clone(&self.commands)
    }

    /// Serves until it is told to stop and its connections have ended.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.is_finished() {
            self.pass(&mut events)?;
        }
        self.log_dropped();
        Ok(())
    }

    /// One pass of the loop: serves connections with events, then new ones, then those that were not done in their
    /// last turn.
    fn pass(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, Some(self.timeout())) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        self.scratch.turn.date.refresh(SystemTime::now());
        self.scratch.turn.now = Instant::now();
        let again = mem::take(&mut self.again);
        for event in &*events {
            match event.token() {
                COMMANDS => self.handle_commands()?,
                Token(token @ LISTENERS..) => self.mark_ready(token - LISTENERS),
                Token(token) => self.note_event(token, event),
            }
        }
        let mut ready = mem::take(&mut self.ready);
        for index in ready.drain(..) {
            self.drive_queued(index);
        }
        self.ready = ready;
        self.close_ended();
        for number in 0..self.listeners.len() {
            self.accept_some(number, ACCEPT_BATCH);
            self.close_when_empty(number);
        }
        for index in again {
            self.drive_queued(index);
        }
        self.report_stopped()?;
        self.check_deadlines();
        self.close_ended();
        self.refill_reserve();
        Ok(())
    }

    /// Notes an event of a connection's socket, or of that to its upstream.
    fn note_event(&mut self, token: usize, event: &Event) {
        let index = token / 2;
        // An event may be older than the connection's end.
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.event(token % 2 == 1, event);
        if !mem::replace(&mut connection.queued, true) {
            self.ready.push(index);
        }
    }

    /// Drives a connection of one of the lists.
    fn drive_queued(&mut self, index: usize) {
        // Its place may have been taken by another connection since.
        let connection = self.connections.get_mut(index);
        if connection.is_some_and(|connection| mem::take(&mut connection.queued)) {
            self.drive(index);
        }
    }

    /// Logs the connections that were queued and not accepted: they are reset when their listener closes.
    fn log_dropped(&self) {
        for listeners in self.listeners.iter().flatten() {
            match listeners.listener.waiting() {
                Ok(0) | Err(_) => {}
                Ok(lost) => {
                    log::warn!("{}: {lost} connections waited in vain", listeners.context.address);
                }
            }
        }
    }

    fn is_finished(&self) -> bool {
        let idle = self.connections.is_empty() && self.listeners.iter().all(Option::is_none);
        self.drain_until.is_some_and(|until| idle || until <= Instant::now())
    }

    fn timeout(&self) -> Duration {
        let ready = || self.listeners.iter().flatten().filter(|listeners| listeners.ready);
        let next_try =
            |listeners: &WorkerListener| self.descriptors.next_try(listeners.context.cost);
        let backlog = ready().any(|listeners| next_try(listeners).is_none());
        if !self.again.is_empty() || (backlog && self.may_accept()) {
            return Duration::ZERO;
        }
        let after = self.accept_after.filter(|_| backlog);
        let room = ready().filter_map(next_try).min();
        let wake =
            [Some(self.next_check), after, room, self.drain_until].into_iter().flatten().min();
        wake.unwrap_or(self.next_check).saturating_duration_since(Instant::now())
    }

    fn handle_commands(&mut self) -> io::Result<()> {
        for command in self.commands.take() {
            match command {
                WorkerCommand::Listen { number, listener, context } => {
                    self.listen(number, listener, context)?;
                }
                WorkerCommand::CloseListener { number } => self.stop_accepting(number),
                WorkerCommand::ReportAlive => {
                    self.shared.alive.fetch_add(1, Ordering::Relaxed);
                }
                WorkerCommand::Drain { until } => {
                    self.drain_until = Some(until);
                    self.close_idle();
                }
                WorkerCommand::Stop(reason) => {
                    self.stop_reason = reason;
                    self.drain_until = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    /// Closes idle keep-alive connections, which would otherwise delay shutdown until the drain timeout.
    fn close_idle(&mut self) {
        self.scratch.turn.ending = true;
        for (_, connection) in &mut self.connections {
            connection.close_once_idle();
        }
        // They are looked at now.
        self.next_check = Instant::now();
    }

    /// Reports to the supervisor, once, that all listeners are closed.
    fn report_stopped(&mut self) -> io::Result<()> {
        if self.drain_until.is_some() && !self.stopped && self.listeners.iter().all(Option::is_none)
        {
            self.stopped = true;
            self.shared.stopped.fetch_add(1, Ordering::Relaxed);
            self.shared.supervisor.wake()?;
        }
        Ok(())
    }

    fn drive(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let failed = match connection.drive(&mut self.scratch) {
            Ok(DriveOutcome::Wait) => {
                self.next_check = self.next_check.min(connection.deadline);
                let tokens = [Token(2 * index), Token(2 * index + 1)];
                match connection.register(self.poll.registry(), tokens) {
                    Ok(()) => return,
                    Err(e) => Some(e.into()),
                }
            }
            // What comes meanwhile is there when it registers.
            Ok(DriveOutcome::Again) => {
                if !mem::replace(&mut connection.queued, true) {
                    self.again.push(index);
                }
                return;
            }
            Ok(DriveOutcome::ClientKnown) => {
                if Self::admit_source(&self.shared.sources, connection) {
                    return self.drive(index);
                }
                Some(CloseKind::PerSource.into())
            }
            Ok(DriveOutcome::Done) => connection.failure().map(CloseReason::from),
            Err(e) => Some(connection.failure().map_or_else(|| e.into(), CloseReason::from)),
        };
        self.close_connection(index, failed);
    }

    /// Counts the connection for its client's address, unless that has as many as it may have. Returns whether it
    /// was counted, or needs no counting.
    fn admit_source(sources: &SourceLimiter, connection: &mut Connection) -> bool {
        let Some(most) = connection.listener.limits.connections_per_source.nonzero() else {
            return true;
        };
        connection.counted = sources.enter(connection.source(), most);
        connection.counted
    }

    fn close_connection(&mut self, index: usize, reason: Option<CloseReason>) {
        let Some(connection) = self.connections.try_remove(index) else { return };
        self.finish(connection, reason);
        self.accept_after = None;
    }

    /// Counts and logs a connection that has ended. [`close_ended`](Self::close_ended) closes it.
    fn finish(&mut self, mut connection: Connection, reason: Option<CloseReason>) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if connection.counted {
            self.shared.sources.leave(connection.source());
        }
        let now = Instant::now();
        self.scratch.turn.now = now;
        let duration = now.saturating_duration_since(connection.started);
        if reason.is_some() {
            connection.reset_if_incomplete();
        }
        let stats = &connection.listener.stats;
        stats.add(Count::Closed, 1);
        stats.observe(Timing::Service, duration);
        if let Some(reason) = &reason {
            stats.add(Count::CutShort(reason.kind), 1);
        }
        if let Some(access_log) = &self.access_log {
            access_log.connection(Self::log_entry(&mut connection, duration, reason));
        }
        self.descriptors.closing(connection.listener.cost);
        self.ended.push(connection.into_stream());
    }

    /// Closes the finished connections. Only then are their descriptors free for others.
    fn close_ended(&mut self) {
        self.ended.clear();
        self.descriptors.closed();
    }

    fn log_entry(
        connection: &mut Connection,
        duration: Duration,
        reason: Option<CloseReason>,
    ) -> Box<ConnectionEntry> {
        Box::new(ConnectionEntry {
            peer: connection.peer,
            client: connection.client(),
            upstream: connection.upstream(),
            counted_as: connection.verdict,
            arrival: connection.arrival.take(),
            service: connection.listener.service.kind(),
            duration,
            bytes_in: connection.bytes_in,
            bytes_out: connection.bytes_out,
            cut_short: reason.map(|reason| reason.to_string()),
        })
    }

    fn check_deadlines(&mut self) {
        let now = Instant::now();
        if now < self.next_check {
            return;
        }
        self.scratch.turn.pipes.close_unused();
        self.next_check = now + CHECK_INTERVAL;
        let mut due = Vec::new();
        for (index, connection) in &self.connections {
            if connection.deadline <= now {
                due.push(index);
            } else {
                self.next_check = self.next_check.min(connection.deadline);
            }
        }
        // Many deadlines close to each other cost one look.
        self.next_check = self.next_check.max(now + CHECK_INTERVAL / 20);
        for index in due {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            match connection.on_deadline(&mut self.scratch.turn) {
                Some(reason) => self.close_connection(index, Some(reason.into())),
                None => self.drive(index),
            }
        }
    }
}

/// Closes what is open, however the thread ends, by an error or a panic too: a connection that is closed early must
/// not look whole.
impl Drop for Worker {
    fn drop(&mut self) {
        let is_drained = self.drain_until.is_some() && !thread::panicking();
        let reason = if is_drained { self.stop_reason } else { CloseKind::WorkerFailed };
        for index in 0..self.connections.capacity() {
            self.close_connection(index, Some(reason.into()));
        }
        self.ended.clear();
    }
}
