//! One thread's event loop. Nothing here is shared, nothing waits for another thread, and a connection allocates
//! nothing, but for a response whose head comes in pieces.

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
/// The longest time until timeouts and the user's wish to stop are looked after.
const TICK: u64 = 50 * MILLISECOND;
/// Before a start that this host refused is tried again.
const HOLD: u64 = MILLISECOND;
/// Events that are fetched at once.
const EVENTS: usize = 256;
const BUFFER: usize = 64 * 1024;
/// The token of the timer; connections have their keys in the slab.
const TIMER: Token = Token(usize::MAX);

/// Between two looks at the sum.
pub(super) const GLANCE: Duration = Duration::from_millis(250);

/// What the threads of a run share: a request to stop, and the sum of what they counted.
pub(super) struct Shared {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) total: Mutex<Tally>,
    /// Somebody watches the sum grow.
    pub(super) live: bool,
}

impl Shared {
    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Adds what a thread counted since the last time.
    fn add(&self, tally: &mut Tally) {
        self.total.lock().unwrap_or_else(PoisonError::into_inner).take(tally);
    }
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    schedule: Schedule,
    begin: Instant,
    poll: Poll,
    timer: StartTimer,
    open: Slab<Open>,
    buffer: Vec<u8>,
    /// Counts the starts, for sources and ways to take turns.
    turn: usize,
    next_tick: u64,
    next_flush: u64,
    count: Count,
}

/// A connection that has not ended.
struct Open {
    stream: FastOpenStream,
    /// Of the plan's sources.
    source: usize,
    /// When it was started, or was due: nanoseconds since the run began.
    start: u64,
    deadline: u64,
    /// Of the request.
    sent: usize,
    /// At the reply's first byte.
    seen: Option<Seen>,
    reply: Reply,
    /// It is counted; only the server's close is waited for.
    counted: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    at: u64,
    tcp: Option<TcpBits>,
}

/// What is written down.
struct Count {
    tally: Tally,
    cookies: Cookies,
}

/// What becomes of a connection after an event.
enum Then {
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
            open: Slab::with_capacity(schedule.room.min(1024)),
            buffer: vec![0; BUFFER],
            turn: 0,
            next_tick: 0,
            next_flush: 0,
            count: Count { tally: Tally::new(plan.sources.len())?, cookies },
            schedule,
        })
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let cpu = CpuTime::of_this_thread()?;
        let mut events = Events::with_capacity(EVENTS);
        let mut over = None;
        let mut now = self.now();
        loop {
            if over.is_none() {
                over = self.start_due(now)?.then(|| self.now());
            }
            if over.is_some() && self.open.is_empty() || self.shared.must_stop() {
                break;
            }
            self.wait(&mut events, now, over.is_some())?;
            for event in &events {
                self.handle(event);
            }
            now = self.now();
            if now >= self.next_tick {
                self.tick(now);
            }
        }
        let tally = &mut self.count.tally;
        tally.not_started = self.schedule.behind(now);
        tally.unfinished = self.open.iter().filter(|(_, open)| !open.counted).count() as u64;
        tally.elapsed = tally.elapsed.max(Duration::from_nanos(over.unwrap_or(now)));
        tally.cpu = CpuTime::of_this_thread()? - cpu;
        self.flush();
        Ok(())
    }

    fn now(&self) -> u64 {
        since(self.begin)
    }

    /// Starts what is due, as far as there is room; whether that was all.
    fn start_due(&mut self, mut now: u64) -> io::Result<bool> {
        while self.open.len() < self.schedule.room {
            match self.schedule.next(now) {
                Next::Start(due) => self.start(due, now)?,
                Next::Wait(_) => return Ok(false),
                Next::Over => return Ok(true),
            }
            now = self.now();
        }
        Ok(self.schedule.next(now) == Next::Over)
    }

    fn start(&mut self, due: u64, now: u64) -> io::Result<()> {
        self.schedule.started();
        let tally = &mut self.count.tally;
        tally.started += 1;
        let Some(way) = self.plan.ways.get(self.turn) else { return Ok(()) };
        self.turn = (self.turn + 1) % self.plan.ways.len();
        if self.plan.paced {
            tally.times.start.saturating_record(now - due);
        }
        match way.connector.connect_nonblocking(self.plan.server, &self.plan.request) {
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
                // Closing the stream removes it.
                self.poll.registry().register(&mut SourceFd(&fd), token, interest)?;
                entry.insert(Open {
                    stream,
                    source: way.source,
                    start: due,
                    deadline: now.saturating_add(nanos(self.plan.timeout)),
                    sent,
                    seen: None,
                    reply: Reply::default(),
                    counted: false,
                });
            }
            Err(e) => {
                self.count.failed(e.kind(), e.raw_os_error());
                self.schedule.hold(now + HOLD);
            }
        }
        Ok(())
    }

    /// Waits until a connection has news, the next start is due, or it is time for a tick.
    fn wait(&mut self, events: &mut Events, now: u64, over: bool) -> io::Result<()> {
        let mut timeout = Duration::from_nanos(self.next_tick.saturating_sub(now));
        if !over && self.open.len() < self.schedule.room {
            match self.schedule.next(now) {
                Next::Wait(due) if due < self.next_tick => self.timer.set(due)?,
                Next::Start(_) => timeout = Duration::ZERO,
                Next::Wait(_) | Next::Over => {}
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
        // The timer has no connection.
        let Some(open) = self.open.get_mut(key) else { return };
        let mut turn = Turn {
            begin: self.begin,
            plan: self.plan,
            count: &mut self.count,
            buffer: &mut self.buffer,
        };
        if let Then::Close = turn.handle(open, event) {
            let open = self.open.remove(key);
            if self.plan.reset {
                // It closes the connection also where it fails.
                let _ = option::set_linger(&open.stream, Some(Duration::ZERO));
            }
        }
    }

    /// What is looked after now and then.
    fn tick(&mut self, now: u64) {
        self.next_tick = now + TICK.min(nanos(self.plan.timeout) / 4).max(MILLISECOND);
        let count = &mut self.count;
        self.open.retain(|_, open| {
            let expired = open.deadline <= now;
            if expired && !open.counted {
                count.tally.failed(ConnectionError::TimedOut);
            }
            !expired
        });
        if self.shared.live && now >= self.next_flush {
            self.next_flush = now + nanos(GLANCE);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Count { tally, cookies } = &mut self.count;
        tally.granted(cookies.granted());
        self.shared.add(tally);
    }
}

/// What one event of a connection needs.
struct Turn<'a> {
    begin: Instant,
    plan: &'a Plan,
    count: &'a mut Count,
    buffer: &'a mut [u8],
}

impl Turn<'_> {
    fn handle(&mut self, open: &mut Open, event: &Event) -> Then {
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
        if readable { self.read(open, event) } else { Then::Wait }
    }

    fn without_reply(&mut self, open: &mut Open, event: &Event) -> Then {
        if let Ok(Some(e)) = open.stream.take_error() {
            return self.failed(open, &e);
        }
        if event.is_writable() && open.sent == self.plan.request.len() {
            self.note(open);
            return self.answered(open);
        }
        Then::Wait
    }

    /// Reads until there is nothing more: an edge is told once.
    fn read(&mut self, open: &mut Open, event: &Event) -> Then {
        loop {
            let len = match open.stream.read(self.buffer) {
                Ok(0) => return self.closed(open),
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Then::Wait,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return self.failed(open, &e),
            };
            if !open.counted {
                if open.seen.is_none() {
                    self.note(open);
                }
                match open.reply.bytes(&self.plan.expect, &self.buffer[..len]) {
                    Step::More => {}
                    Step::Complete => {
                        self.answered(open);
                        if self.plan.reset {
                            return Then::Close;
                        }
                    }
                    Step::CompleteHere => return self.answered(open),
                    other => return self.ended(open, other),
                }
            }
            if len < self.buffer.len() && !event.is_error() {
                // Nothing is left, and the close that was told stood behind it.
                return if event.is_read_closed() { self.closed(open) } else { Then::Wait };
            }
        }
    }

    /// Takes the evidence: at the first byte, when all of it is settled.
    fn note(&mut self, open: &mut Open) {
        let tcp = option::tcp_bits(&open.stream).ok();
        open.seen = Some(Seen { at: since(self.begin), tcp });
    }

    fn closed(&mut self, open: &mut Open) -> Then {
        if open.counted {
            return Then::Close;
        }
        let step = open.reply.closed(&self.plan.expect);
        self.ended(open, step)
    }

    fn ended(&mut self, open: &mut Open, step: Step) -> Then {
        match step {
            Step::Wrong(wrong) => {
                self.count.tally.failed(ConnectionError::WrongReply);
                self.count.tally.wrong.get_or_insert(wrong);
            }
            Step::ClosedEarly => self.count.tally.failed(ConnectionError::ClosedEarly),
            Step::More | Step::Complete | Step::CompleteHere => return self.answered(open),
        }
        Then::Close
    }

    fn failed(&mut self, open: &Open, error: &io::Error) -> Then {
        if !open.counted {
            self.count.failed(error.kind(), error.raw_os_error());
        }
        Then::Close
    }

    fn answered(&mut self, open: &mut Open) -> Then {
        open.counted = true;
        if let Some(seen) = open.seen {
            self.count.answered(open, seen, since(self.begin));
        }
        Then::Close
    }
}

impl Count {
    fn answered(&mut self, open: &Open, seen: Seen, now: u64) {
        let attempt = open.stream.attempt().unwrap_or(Attempt::Regular);
        let asked = matches!(attempt, Attempt::AfterHandshake)
            && seen.tcp.is_some_and(|tcp| tcp.client_fail == ClientFail::CookieUnavailable);
        if asked {
            self.cookies.asked(open.source, now);
        }
        let tally = &mut self.tally;
        tally.answered(open.source, attempt, seen.tcp);
        let times = &mut tally.times;
        let fast_open = seen.tcp.is_some_and(|tcp| tcp.syn_data);
        let first = if fast_open { &mut times.fast_open } else { &mut times.regular };
        first.saturating_record(seen.at.saturating_sub(open.start));
        times.reply.saturating_record(now.saturating_sub(open.start));
        tally.elapsed = Duration::from_nanos(now);
    }

    fn failed(&mut self, kind: io::ErrorKind, errno: Option<i32>) {
        let error = ConnectionError::of(kind, errno);
        self.tally.failed(error);
        if error == ConnectionError::Other {
            self.tally.other = self.tally.other.or(errno);
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
