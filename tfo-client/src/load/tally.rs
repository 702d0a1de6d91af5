//! What is counted: every connection once, as a verdict or as an error.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use tfo_core::diagnosis::{Cause, HitRate, Outcome, Side, classify};
use tfo_core::host::CpuTime;
use tfo_core::socket::{Attempt, TcpBits, TcpState};

use super::connection_error::ConnectionError;
use super::reply::Wrong;

/// What a run, a thread, or a part of its time came to.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Connections that were started, those that could not be included.
    pub(crate) started: u64,
    /// Open when the user ended the run.
    pub(crate) unfinished: u64,
    /// Due by the end, at a rate, and never started.
    pub(crate) not_started: u64,
    /// Answered connections, of each source address by their evidence.
    answered: Vec<Answered>,
    /// In the order of [`ConnectionError::ALL`].
    errors: [u64; ConnectionError::ALL.len()],
    /// What was wrong with one of the wrong replies.
    pub(crate) wrong: Option<Wrong>,
    /// One of the errors that have no kind of their own.
    pub(crate) other: Option<i32>,
    pub(crate) times: Times,
    /// Since the run began: when no more were started, or when the last reply came, whichever is later.
    pub(crate) elapsed: Duration,
    pub(crate) cpu: CpuTime,
    pub(crate) interrupted: bool,
}

#[derive(Debug, Default, Clone)]
struct Answered {
    /// Few: there are about ten that can be.
    by_evidence: Vec<(Attempt, Option<TcpBits>, u64)>,
    /// A cookie was granted to this source.
    granted: bool,
}

impl Answered {
    fn add(&mut self, attempt: Attempt, tcp: Option<TcpBits>, count: u64) {
        match self.by_evidence.iter_mut().find(|(a, t, _)| (*a, *t) == (attempt, tcp)) {
            Some((_, _, sum)) => *sum += count,
            None => self.by_evidence.push((attempt, tcp, count)),
        }
    }
}

/// How long it took, in nanoseconds: from a connection's start, or from when it was due.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// To the first byte, where the SYN's data was acknowledged.
    pub(crate) fast_open: Histogram<u64>,
    /// To the first byte, of the others.
    pub(crate) regular: Histogram<u64>,
    /// To the reply's end, of all.
    pub(crate) reply: Histogram<u64>,
    /// From when a connection was due to its start, at a rate.
    pub(crate) start: Histogram<u64>,
}

impl Times {
    fn new() -> io::Result<Self> {
        // From 1 µs to more than the longest timeout, to three digits.
        let histogram = || Histogram::new_with_bounds(1_000, 1 << 42, 3).map_err(io::Error::other);
        Ok(Self {
            fast_open: histogram()?,
            regular: histogram()?,
            reply: histogram()?,
            start: histogram()?,
        })
    }

    fn all(&mut self) -> [&mut Histogram<u64>; 4] {
        [&mut self.fast_open, &mut self.regular, &mut self.reply, &mut self.start]
    }

    /// To the first byte, of all.
    pub(crate) fn first_byte(&self) -> Histogram<u64> {
        let mut both = self.fast_open.clone();
        // Fails only for other bounds.
        let _ = both.add(&self.regular);
        both
    }
}

impl Tally {
    pub(super) fn new(sources: usize) -> io::Result<Self> {
        Ok(Self {
            started: 0,
            unfinished: 0,
            not_started: 0,
            answered: vec![Answered::default(); sources],
            errors: [0; ConnectionError::ALL.len()],
            wrong: None,
            other: None,
            times: Times::new()?,
            elapsed: Duration::ZERO,
            cpu: CpuTime::default(),
            interrupted: false,
        })
    }

    /// A connection from this source got its reply. `tcp`: as it was at the first byte.
    pub(super) fn answered(&mut self, source: usize, attempt: Attempt, tcp: Option<TcpBits>) {
        if let Some(answered) = self.answered.get_mut(source) {
            // Those with the same verdict are counted together: numbers do not matter to it, nor does the state of
            // a connection that has its reply.
            let attempt =
                if let Attempt::InSyn(1..) = attempt { Attempt::InSyn(1) } else { attempt };
            let tcp = tcp.map(|mut tcp| {
                (tcp.state, tcp.total_retrans, tcp.rtt_us) = (TcpState::Established, 0, 0);
                tcp
            });
            answered.add(attempt, tcp, 1);
        }
    }

    pub(super) fn failed(&mut self, error: ConnectionError) {
        self.errors[error as usize] += 1;
    }

    /// Says of each source whether a cookie was granted.
    pub(super) fn granted(&mut self, granted: impl Iterator<Item = bool>) {
        for (answered, granted) in self.answered.iter_mut().zip(granted) {
            answered.granted |= granted;
        }
    }

    /// Adds what another one counted, and empties that.
    pub(super) fn take(&mut self, other: &mut Self) {
        self.started += other.started;
        self.unfinished += other.unfinished;
        self.not_started += other.not_started;
        for (own, answered) in self.answered.iter_mut().zip(&mut other.answered) {
            own.granted |= answered.granted;
            for (attempt, tcp, count) in answered.by_evidence.drain(..) {
                own.add(attempt, tcp, count);
            }
        }
        for (own, count) in self.errors.iter_mut().zip(&mut other.errors) {
            *own += std::mem::take(count);
        }
        self.wrong = self.wrong.or(other.wrong);
        self.other = self.other.or(other.other);
        for (own, times) in self.times.all().into_iter().zip(other.times.all()) {
            // Fails only for other bounds.
            let _ = own.add(&*times);
            times.reset();
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.cpu.user += std::mem::take(&mut other.cpu.user);
        self.cpu.system += std::mem::take(&mut other.cpu.system);
        (other.started, other.unfinished, other.not_started) = (0, 0, 0);
    }

    /// How many got their reply, by verdict; the most frequent first.
    pub(crate) fn verdicts(&self) -> Vec<(Outcome, Option<Cause>, u64)> {
        let mut verdicts: Vec<(Outcome, Option<Cause>, u64)> = Vec::new();
        // A server that grants cookies to one source does so to others, whose cookies may have been
        // evicted before they were seen.
        let grants = self.answered.iter().any(|answered| answered.granted);
        for answered in &self.answered {
            for (attempt, tcp, count) in &answered.by_evidence {
                let cached = (answered.granted || !grants).then_some(answered.granted);
                let (outcome, cause) = tcp
                    .and_then(|tcp| classify(tcp, Side::client(Some(*attempt), cached)))
                    .unwrap_or((Outcome::Fallback, None));
                match verdicts.iter_mut().find(|(o, c, _)| (*o, *c) == (outcome, cause)) {
                    Some((_, _, sum)) => *sum += count,
                    None => verdicts.push((outcome, cause, *count)),
                }
            }
        }
        verdicts.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
        verdicts
    }

    /// The hit rate of those that got their reply, from 0 to 1. `None`: none tried fast open.
    pub(crate) fn hit_rate(&self) -> Option<f64> {
        let counts = self.verdicts().into_iter().map(|(outcome, _, count)| (outcome, count));
        counts.collect::<HitRate>().share()
    }

    /// How many got their reply.
    pub(crate) fn replies(&self) -> u64 {
        let counts = self.answered.iter().flat_map(|answered| &answered.by_evidence);
        counts.map(|(.., count)| count).sum()
    }

    /// How many of them by fast open.
    pub(crate) fn fast_open(&self) -> u64 {
        self.times.fast_open.len()
    }

    /// How many failed, by kind.
    pub(crate) fn connection_errors(&self) -> impl Iterator<Item = (ConnectionError, u64)> {
        ConnectionError::ALL.into_iter().zip(self.errors)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Replies a second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.replies(), self.elapsed)
    }

    /// Microseconds for each connection that was started.
    #[expect(clippy::cast_precision_loss, reason = "2^53 connections take a while")]
    pub(crate) fn per_connection(&self, time: Duration) -> f64 {
        if self.started == 0 { 0.0 } else { time.as_secs_f64() * 1e6 / self.started as f64 }
    }

    /// The 99th percentile to the first byte, where a connection without its reply is slower than any other:
    /// `None` if there are too many of them.
    pub(crate) fn p99(&self) -> Option<Duration> {
        let times = self.times.first_byte();
        let (replies, missed) = (times.len(), self.errors() + self.not_started);
        let rank = ((replies + missed) * 99).div_ceil(100);
        if rank == 0 || rank > replies {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a histogram has three digits")]
        let quantile = rank as f64 / replies as f64;
        Some(Duration::from_nanos(times.value_at_quantile(quantile)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 connections take a while")]
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}
