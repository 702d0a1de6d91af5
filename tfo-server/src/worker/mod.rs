//! A worker: a thread with its own event loop, listeners and connections. Workers share only counters and budgets
//! ([`SharedState`]).
//!
//! One pass of the loop ([`Worker::pass`]):
//!
//! 1. Waits for events, and handles the supervisor's commands ([`WorkerCommand`]).
//! 2. Drives connections that have events.
//! 3. Accepts from each listener in batches ([`Worker::accept_some`]). A new connection has its first turn at once:
//!    with fast open its data is already there.
//! 4. Drives connections that were not done at the end of their last turn.
//! 5. Checks deadlines, and closes the sockets of connections that have ended.
//!
//! Invariants:
//!
//! 1. Nothing in the loop blocks: sockets are nonblocking, and log lines are queued.
//! 2. A connection has at most one turn per pass, and a turn is bounded ([`TurnBudget`]).
//! 3. A connection is queued at most once ([`Connection::queued`]). A queued index may refer to a connection that has
//!    ended.
//! 4. A connection's descriptors are taken before it is accepted, and given back after they are closed
//!    ([`DescriptorShare`]).
//! 5. Every accepted connection is counted, logged and closed in one place ([`Worker::finish`]), even if the thread
//!    ends by an error or a panic.
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
use tfo_core::cli::output::counted;

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
/// Maximum time between two checks of deadlines.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of bytes per read.
const INPUT_BUFFER: usize = 64 * 1024;

/// Serves the connections of its own listeners.
pub(crate) struct Worker {
    shared: Arc<SharedState>,
    commands: Arc<CommandQueue>,
    poll: Poll,
    /// Indexed by the number that the supervisor assigned.
    listeners: Vec<Option<WorkerListener>>,
    keys: KeyView,
    forensics: CookieForensics,
    connections: Slab<Connection>,
    /// Accepted connections that are not started yet.
    batch: Vec<(FastOpenStream, SocketAddr)>,
    /// Sockets of ended connections that are not closed yet.
    ended: Vec<FastOpenStream>,
    /// The descriptors of all connections, including those that are not closed yet.
    descriptors: DescriptorShare,
    access_log: Option<AccessLog>,
    accept_after: Option<Instant>,
    starved: bool,
    /// Connections with new events, each at most once ([`Connection::queued`]).
    ready: Vec<usize>,
    /// Connections whose turn ended before they were done, each at most once.
    again: Vec<usize>,
    next_check: Instant,
    drain_until: Option<Instant>,
    /// All listeners are closed, and no new one follows.
    stopped: bool,
    /// The reason for closing the connections that are open when draining ends.
    stop_reason: CloseKind,
    /// Only on the thread that serves metrics.
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

    /// Serves until the supervisor stops the worker and all connections have ended.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.is_finished() {
            self.pass(&mut events)?;
        }
        self.log_dropped();
        Ok(())
    }

    /// Runs one pass of the loop.
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

    /// Records an event on a connection's client or upstream socket.
    fn note_event(&mut self, token: usize, event: &Event) {
        let index = token / 2;
        // The connection may have ended since the event.
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.event(token % 2 == 1, event);
        if !mem::replace(&mut connection.queued, true) {
            self.ready.push(index);
        }
    }

    /// Drives a queued connection.
    fn drive_queued(&mut self, index: usize) {
        // The index may belong to another connection by now.
        let connection = self.connections.get_mut(index);
        if connection.is_some_and(|connection| mem::take(&mut connection.queued)) {
            self.drive(index);
        }
    }

    /// Logs the queued connections that were never accepted: closing the listener resets them.
    fn log_dropped(&self) {
        for entry in self.listeners.iter().flatten() {
            match entry.listener.waiting() {
                Ok(0) | Err(_) => {}
                Ok(lost) => {
                    let lost = counted(lost, "queued connection was", "queued connections were");
                    log::warn!("{}: {lost} dropped", entry.context.address);
                }
            }
        }
    }

    fn is_finished(&self) -> bool {
        let idle = self.connections.is_empty() && self.listeners.iter().all(Option::is_none);
        self.drain_until.is_some_and(|until| idle || until <= Instant::now())
    }

    fn timeout(&self) -> Duration {
        let ready = || self.listeners.iter().flatten().filter(|entry| entry.ready);
        let next_try = |entry: &WorkerListener| self.descriptors.next_try(entry.context.cost);
        let backlog = ready().any(|entry| next_try(entry).is_none());
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
        // Apply the new deadlines in this pass.
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
            // Events that occur before the connection registers are reported then.
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

    /// Counts the connection for its client's address, unless the address has reached its limit. Returns whether the
    /// connection may be served.
    fn admit_source(sources: &SourceLimiter, connection: &mut Connection) -> bool {
        let Some(max) = connection.listener.limits.connections_per_source.nonzero() else {
            return true;
        };
        connection.counted_for_source = sources.enter(connection.source(), max);
        connection.counted_for_source
    }

    fn close_connection(&mut self, index: usize, reason: Option<CloseReason>) {
        let Some(connection) = self.connections.try_remove(index) else { return };
        self.finish(connection, reason);
        self.accept_after = None;
    }

    /// Counts and logs a connection that has ended. [`close_ended`](Self::close_ended) closes its socket.
    fn finish(&mut self, mut connection: Connection, reason: Option<CloseReason>) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if connection.counted_for_source {
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

    /// Closes the sockets of ended connections, and gives back their descriptors.
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
        // Deadlines that are close together are handled in one check.
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

/// Closes all open connections, also if the thread ends by an error or a panic, because a truncated reply must not look
/// complete.
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
