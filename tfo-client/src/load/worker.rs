//! The event loop of one thread.
//!
//! # Overview
//!
//! [`Worker::run`] repeats until all connections of its [`Schedule`] are started and closed, or the user interrupts
//! the run:
//!
//! 1. Start every connection that is due, as long as fewer than the maximum are open ([`Worker::start_due`]).
//! 2. Wait for events, for the next start ([`StartTimer`]) or for the next tick ([`Worker::wait`]).
//! 3. Handle the events: write the rest of the request, read the reply, close ([`EventContext::handle`]).
//! 4. Every [`TICK`], close connections that timed out, and add the counters to those of the run ([`Worker::tick`]).
//!
//! A connection is connecting, sending, receiving, or closing. It is counted when its reply is complete or when it
//! fails; afterwards it stays open only to wait for the server's close.
//!
//! # Invariants
//!
//! - Every started connection is counted exactly once: as answered, as failed, or as unfinished at an interruption.
//!   `counted` is set when it is answered; a connection that fails is closed at once.
//! - A connection's time starts when it was due, not when it was started. With a rate, a stalled server or a slow
//!   client therefore shows in the times.
//! - The evidence is read at the first byte of the reply, when all bits of `TCP_INFO` are final.
//! - Sockets are registered edge-triggered. A handler reads until the socket would block, or until a short read.
//! - Threads share only [`Shared`], and no thread waits for another one, except for the lock around the sum.
//! - A connection allocates no memory, except for a response whose head arrives in pieces.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tfo_core::host::CpuTime;
use tfo_core::socket::Attempt;
use tfo_core::socket::{ClientFail, TcpBits};
use tfo_core::socket::{FastOpenStream, option};

use super::connection_error::ConnectionError;
use super::cookies::Cookies;
use super::plan::Plan;
use super::reply::{Reply, Step};
use super::schedule::{Next, Schedule};
use super::settings::Expect;
use super::start_timer::StartTimer;
use super::tally::Tally;

const MILLISECOND: u64 = 1_000_000;
/// The maximum time between two checks for timeouts and for an interruption.
const TICK: u64 = 50 * MILLISECOND;
/// The delay before the next attempt, after this host refused to start a connection.
const RETRY_DELAY: u64 = MILLISECOND;
/// The maximum number of events fetched by one call.
const EVENTS: usize = 256;
const BUFFER: usize = 64 * 1024;
/// The token of the timer. A connection's token is its key in the slab.
const TIMER: Token = Token(usize::MAX);

/// The time between two updates of the progress.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// The state that all threads of a run share: a request to stop, and the sum of their counters.
pub(super) struct Shared {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) total: Mutex<Tally>,
    /// Whether the progress is shown, so that threads have to update the sum.
    pub(super) live: bool,
}

impl Shared {
    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Adds the counters of a thread since its last call.
    fn add(&self, tally: &mut Tally) {
        self.total.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
    }
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    schedule: Schedule,
    begin: Instant,
    poll: Poll,
    timer: StartTimer,
    open: Slab<OpenConnection>,
    buffer: Vec<u8>,
    /// The index of the next variant in the plan.
    next_variant: usize,
    next_tick: u64,
    next_flush: u64,
    recorder: Recorder,
}

/// An open connection.
struct OpenConnection {
    stream: FastOpenStream,
    /// The index into the plan's `sources`.
    source: usize,
    /// When it was started, or was due, in nanoseconds since the run began.
    start: u64,
    deadline: u64,
    /// The number of bytes of the request that are sent.
    sent: usize,
    /// The evidence, once the first byte of the reply has arrived.
    first_byte: Option<FirstByte>,
    reply: Reply,
    /// Whether it is counted, and only waits for the server's close.
    counted: bool,
}

/// The time of the first byte, and the evidence read at that time.
#[derive(Clone, Copy)]
struct FirstByte {
    at: u64,
    tcp: Option<TcpBits>,
}

/// Counts connections, and checks for cookies.
struct Recorder {
    tally: Tally,
    cookies: Cookies,
}

/// What to do with a connection after an event.
enum Action {
    Wait,
    Close,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        schedule: Schedule,
        begin: Instant,
    ) -> io::Result<Self> {
        let cookies = Cookies::new(plan.server.ip(), &plan.sources);
        let poll = Poll::new()?;
        Ok(Self {
            plan,
            shared,
            begin,
            timer: StartTimer::new(poll.registry(), TIMER, begin)?,
            poll,
            open: Slab::with_capacity(schedule.max_open.min(1024)),
            buffer: vec![0; BUFFER],
            next_variant: 0,
            next_tick: 0,
            next_flush: 0,
            recorder: Recorder { tally: Tally::new(plan.sources.len())?, cookies },
            schedule,
        })
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let cpu = CpuTime::of_this_thread()?;
        let mut events = Events::with_capacity(EVENTS);
        let mut all_started_at = None;
        let mut now = self.now();
        loop {
            if all_started_at.is_none() {
                all_started_at = self.start_due(now)?.then(|| self.now());
            }
            if all_started_at.is_some() && self.open.is_empty() || self.shared.must_stop() {
                break;
            }
            self.wait(&mut events, now, all_started_at.is_some())?;
            for event in &events {
                self.handle(event);
            }
            now = self.now();
            if now >= self.next_tick {
                self.tick(now);
            }
        }
        let tally = &mut self.recorder.tally;
        tally.not_started = self.schedule.overdue(now);
        tally.unfinished = self.open.iter().filter(|(_, open)| !open.counted).count() as u64;
        tally.elapsed = tally.elapsed.max(Duration::from_nanos(all_started_at.unwrap_or(now)));
        tally.cpu = CpuTime::of_this_thread()? - cpu;
        self.flush();
        Ok(())
    }

    fn now(&self) -> u64 {
        since(self.begin)
    }

    /// Starts the connections that are due, up to the maximum number of open connections. Returns whether all
    /// connections of the run have been started.
    fn start_due(&mut self, mut now: u64) -> io::Result<bool> {
        while self.open.len() < self.schedule.max_open {
            match self.schedule.next(now) {
                Next::Start(due) => self.start(due, now)?,
                Next::Wait(_) => return Ok(false),
                Next::Done => return Ok(true),
            }
            now = self.now();
        }
        Ok(self.schedule.next(now) == Next::Done)
    }

    fn start(&mut self, due: u64, now: u64) -> io::Result<()> {
        self.schedule.started();
        let tally = &mut self.recorder.tally;
        tally.started += 1;
        let Some(variant) = self.plan.variants.get(self.next_variant) else { return Ok(()) };
        self.next_variant = (self.next_variant + 1) % self.plan.variants.len();
        if self.plan.paced {
            tally.times.start.saturating_record(now - due);
        }
        match variant.connector.connect_nonblocking(self.plan.server, &self.plan.request) {
            Ok(stream) => {
                let sent = if let Some(Attempt::InSyn(sent)) = stream.attempt() { sent } else { 0 };
                let all_sent = sent == self.plan.request.len();
                let interest = if all_sent && self.plan.expect != Expect::Nothing {
                    Interest::READABLE
                } else {
                    Interest::READABLE | Interest::WRITABLE
                };
                let entry = self.open.vacant_entry();
                let fd = stream.as_fd().as_raw_fd();
                let token = Token(entry.key());
                // Closing the stream removes the registration.
                self.poll.registry().register(&mut SourceFd(&fd), token, interest)?;
                entry.insert(OpenConnection {
                    stream,
                    source: variant.source,
                    start: due,
                    deadline: now.saturating_add(nanos(self.plan.timeout)),
                    sent,
                    first_byte: None,
                    reply: Reply::default(),
                    counted: false,
                });
            }
            Err(e) => {
                self.recorder.failed(e.kind(), e.raw_os_error());
                self.schedule.delay_retry(now + RETRY_DELAY);
            }
        }
        Ok(())
    }

    /// Waits for events, until the next start or the next tick is due.
    fn wait(&mut self, events: &mut Events, now: u64, all_started: bool) -> io::Result<()> {
        let mut timeout = Duration::from_nanos(self.next_tick.saturating_sub(now));
        if !all_started && self.open.len() < self.schedule.max_open {
            match self.schedule.next(now) {
                Next::Wait(due) if due < self.next_tick => self.timer.set(due)?,
                Next::Start(_) => timeout = Duration::ZERO,
                Next::Wait(_) | Next::Done => {}
            }
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn handle(&mut self, event: &Event) {
        let Token(key) = event.token();
        // The timer's token has no connection.
        let Some(open) = self.open.get_mut(key) else { return };
        let mut context = EventContext {
            begin: self.begin,
            plan: self.plan,
            recorder: &mut self.recorder,
            buffer: &mut self.buffer,
        };
        if let Action::Close = context.handle(open, event) {
            let open = self.open.remove(key);
            if self.plan.reset {
                // If this fails, dropping the stream closes the connection without a RST.
                let _ = option::set_linger(&open.stream, Some(Duration::ZERO));
            }
        }
    }

    /// Closes connections that timed out, and updates the sum if the progress is shown.
    fn tick(&mut self, now: u64) {
        self.next_tick = now + TICK.min(nanos(self.plan.timeout) / 4).max(MILLISECOND);
        let recorder = &mut self.recorder;
        self.open.retain(|_, open| {
            let expired = open.deadline <= now;
            if expired && !open.counted {
                recorder.tally.failed(ConnectionError::TimedOut);
            }
            !expired
        });
        if self.shared.live && now >= self.next_flush {
            self.next_flush = now + nanos(PROGRESS_INTERVAL);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Recorder { tally, cookies } = &mut self.recorder;
        tally.record_granted(cookies.granted());
        self.shared.add(tally);
    }
}

/// The parts of a worker that the events of a connection use.
struct EventContext<'a> {
    begin: Instant,
    plan: &'a Plan,
    recorder: &'a mut Recorder,
    buffer: &'a mut [u8],
}

impl EventContext<'_> {
    fn handle(&mut self, open: &mut OpenConnection, event: &Event) -> Action {
        if event.is_writable() && open.sent < self.plan.request.len() {
            let rest = self.plan.request.get(open.sent..).unwrap_or_default();
            match open.stream.write(rest) {
                Ok(sent) => open.sent += sent,
                Err(e) if is_temporary(&e) => {}
                Err(e) => return self.failed(open, &e),
            }
        }
        if self.plan.expect == Expect::Nothing {
            return self.without_reply(open, event);
        }
        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
        if readable { self.read(open, event) } else { Action::Wait }
    }

    fn without_reply(&mut self, open: &mut OpenConnection, event: &Event) -> Action {
        if let Ok(Some(e)) = open.stream.take_error() {
            return self.failed(open, &e);
        }
        if event.is_writable() && open.sent == self.plan.request.len() {
            self.record_first_byte(open);
            return self.answered(open);
        }
        Action::Wait
    }

    /// Reads until the socket would block, because an edge is reported only once.
    fn read(&mut self, open: &mut OpenConnection, event: &Event) -> Action {
        loop {
            let len = match open.stream.read(self.buffer) {
                Ok(0) => return self.closed(open),
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Action::Wait,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return self.failed(open, &e),
            };
            if !open.counted {
                if open.first_byte.is_none() {
                    self.record_first_byte(open);
                }
                match open.reply.on_bytes(&self.plan.expect, &self.buffer[..len]) {
                    Step::Incomplete => {}
                    Step::Complete => {
                        self.answered(open);
                        if self.plan.reset {
                            return Action::Close;
                        }
                    }
                    Step::CompleteAndClose => return self.answered(open),
                    other => return self.ended(open, other),
                }
            }
            if len < self.buffer.len() && !event.is_error() {
                // A short read has emptied the receive buffer: a close that the event reports comes next.
                return if event.is_read_closed() { self.closed(open) } else { Action::Wait };
            }
        }
    }

    /// Records the evidence at the first byte, when all of its bits are final.
    fn record_first_byte(&mut self, open: &mut OpenConnection) {
        let tcp = option::tcp_bits(&open.stream).ok();
        open.first_byte = Some(FirstByte { at: since(self.begin), tcp });
    }

    fn closed(&mut self, open: &mut OpenConnection) -> Action {
        if open.counted {
            return Action::Close;
        }
        let step = open.reply.on_close(&self.plan.expect);
        self.ended(open, step)
    }

    fn ended(&mut self, open: &mut OpenConnection, step: Step) -> Action {
        match step {
            Step::Wrong(wrong) => {
                self.recorder.tally.failed(ConnectionError::WrongReply);
                self.recorder.tally.wrong_reply.get_or_insert(wrong);
            }
            Step::ClosedEarly => self.recorder.tally.failed(ConnectionError::ClosedEarly),
            Step::Incomplete | Step::Complete | Step::CompleteAndClose => {
                return self.answered(open);
            }
        }
        Action::Close
    }

    fn failed(&mut self, open: &OpenConnection, error: &io::Error) -> Action {
        if !open.counted {
            self.recorder.failed(error.kind(), error.raw_os_error());
        }
        Action::Close
    }

    fn answered(&mut self, open: &mut OpenConnection) -> Action {
        open.counted = true;
        if let Some(first_byte) = open.first_byte {
            self.recorder.answered(open, first_byte, since(self.begin));
        }
        Action::Close
    }
}

impl Recorder {
    fn answered(&mut self, open: &OpenConnection, first_byte: FirstByte, now: u64) {
        let attempt = open.stream.attempt().unwrap_or(Attempt::Regular);
        let asked = matches!(attempt, Attempt::AfterHandshake)
            && first_byte.tcp.is_some_and(|tcp| tcp.client_fail == ClientFail::CookieUnavailable);
        if asked {
            self.cookies.requested(open.source, now);
        }
        let tally = &mut self.tally;
        tally.answered(open.source, attempt, first_byte.tcp);
        let times = &mut tally.times;
        let fast_open = first_byte.tcp.is_some_and(|tcp| tcp.syn_data);
        let first = if fast_open { &mut times.fast_open } else { &mut times.regular };
        first.saturating_record(first_byte.at.saturating_sub(open.start));
        times.reply.saturating_record(now.saturating_sub(open.start));
        tally.elapsed = Duration::from_nanos(now);
    }

    fn failed(&mut self, kind: io::ErrorKind, errno: Option<i32>) {
        let error = ConnectionError::from_io(kind, errno);
        self.tally.failed(error);
        if error == ConnectionError::Other {
            self.tally.other_errno = self.tally.other_errno.or(errno);
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn since(begin: Instant) -> u64 {
    nanos(begin.elapsed())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
