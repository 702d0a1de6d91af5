//! The event loop of one thread.

mod accepting;
pub(crate) mod command;
pub(crate) mod handle;
mod listening;
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

use crate::access_log::{Ended, Printer};
use crate::arrival::cookie_origin::Forensics;
use crate::close_reason::{Cut, Why};
use crate::connection::Connection;
use crate::connection::budget::Share;
use crate::connection::pipes::Pipes;
use crate::connection::turn::{OutBuffer, ReadBuffer, Step, Tools, TurnContext};
use crate::keys::KeyView;
use crate::metrics::stats::{Count, Timing};
use crate::service::http::Date;

use command::{CommandQueue, WorkerCommand};
use listening::{BATCH, LISTENERS, Listening};
use reserve::Reserve;
use shared::Shared;
use source_limiter::Sources;

const COMMANDS: Token = Token(usize::MAX);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// The most that is read at a time.
const READ_BUFFER: usize = 64 * 1024;

/// Serves the connections of its own listeners.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    commands: Arc<CommandQueue>,
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
    /// Connections that something has happened to, each once ([`Connection::queued`]).
    ready: Vec<usize>,
    /// The same: connections that had their turn cut short.
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
    pub(crate) fn new(
        shared: Arc<Shared>,
        keys: KeyView,
        forensics: Forensics,
        printer: Option<Printer>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let commands = Arc::new(CommandQueue::new(Waker::new(poll.registry(), COMMANDS)?));
        let pipes = Pipes::new(Arc::clone(&shared.budget));
        let share = Share::of(Arc::clone(&shared.budget));
        Ok(Self {
            shared,
            commands,
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
            ready: Vec::new(),
            again: Vec::new(),
            next_tick: Instant::now() + TICK,
            drain_until: None,
            stopped: false,
            cut_by: Cut::DrainTimeout,
            reserve: None,
            tools: Tools {
                input: ReadBuffer::new(READ_BUFFER),
                context: TurnContext {
                    out: OutBuffer::default(),
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
        while !self.is_over() {
            self.pass(&mut events)?;
        }
        self.report_lost();
        Ok(())
    }

    /// One pass of the loop. Each connection has one turn in it, with a bounded share: first those that something
    /// has happened to, then new ones, then those that were not done in their last turn.
    fn pass(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, Some(self.timeout())) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        self.tools.context.date.refresh(SystemTime::now());
        self.tools.context.now = Instant::now();
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
        for number in 0..self.listening.len() {
            self.accept_some(number, BATCH);
            self.close_when_empty(number);
        }
        for index in again {
            self.drive_queued(index);
        }
        self.note_stopped()?;
        self.tick();
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

    /// Connections that nobody accepted are reset when their listener closes.
    fn report_lost(&self) {
        for listening in self.listening.iter().flatten() {
            match listening.listener.waiting() {
                Ok(0) | Err(_) => {}
                Ok(lost) => {
                    log::warn!("{}: {lost} connections waited in vain", listening.plan.address);
                }
            }
        }
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
        let wake =
            [Some(self.next_tick), after, room, self.drain_until].into_iter().flatten().min();
        wake.unwrap_or(self.next_tick).saturating_duration_since(Instant::now())
    }

    fn handle_commands(&mut self) -> io::Result<()> {
        for command in self.commands.take() {
            match command {
                WorkerCommand::Listen { number, listener, plan } => {
                    self.listen(number, listener, plan)?;
                }
                WorkerCommand::CloseListener { number } => self.stop_accepting(number),
                WorkerCommand::ReportAlive => {
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                }
                WorkerCommand::Drain { until } => {
                    self.drain_until = Some(until);
                    self.end_those_at_rest();
                }
                WorkerCommand::Stop(why) => {
                    self.cut_by = why;
                    self.drain_until = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    /// Who was answered and is kept for the next request would hold the drain up to its limit.
    fn end_those_at_rest(&mut self) {
        self.tools.context.ending = true;
        for (_, connection) in &mut self.connections {
            connection.end_when_quiet();
        }
        // They are looked at now.
        self.next_tick = Instant::now();
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
            Ok(Step::Again) => {
                if !mem::replace(&mut connection.queued, true) {
                    self.again.push(index);
                }
                return;
            }
            Ok(Step::Identified) => {
                if Self::may_be_one_more(&self.shared.sources, connection) {
                    return self.drive(index);
                }
                Some(Cut::PerSource.into())
            }
            Ok(Step::Done) => connection.failure().map(Why::from),
            Err(e) => Some(connection.failure().map_or_else(|| e.into(), Why::from)),
        };
        self.end(index, failed);
    }

    /// Whether its client may have one more connection, which then counts.
    fn may_be_one_more(sources: &Sources, connection: &mut Connection) -> bool {
        let Some(most) = connection.plan.limits.connections_per_source else { return true };
        connection.counted = sources.enter(connection.source(), most);
        connection.counted
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
            self.shared.sources.leave(connection.source());
        }
        let now = Instant::now();
        self.tools.context.now = now;
        let duration = now.saturating_duration_since(connection.started);
        if why.is_some() {
            connection.cut();
        }
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
            counted_as: connection.verdict,
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
        self.tools.context.pipes.close_unused();
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
            let Some(connection) = self.connections.get_mut(index) else { continue };
            match connection.late(&mut self.tools.context) {
                Some(why) => self.end(index, Some(why.into())),
                None => self.drive(index),
            }
        }
    }
}

/// However its thread ends, by an error or a panic too: no connection that is cut looks whole.
impl Drop for Worker {
    fn drop(&mut self) {
        let is_drained = self.drain_until.is_some() && !thread::panicking();
        let why = if is_drained { self.cut_by } else { Cut::WorkerFailed };
        for index in 0..self.connections.capacity() {
            self.end(index, Some(why.into()));
        }
        self.ended.clear();
    }
}
