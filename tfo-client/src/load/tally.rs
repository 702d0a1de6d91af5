//! The counters of a run. Every connection is counted once, as a verdict or as an error.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use tfo_core::diagnosis::{Cause, HitRate, Outcome, Side, classify};
use tfo_core::host::CpuTime;
use tfo_core::socket::{Attempt, TcpBits, TcpState};

use super::connection_error::ConnectionError;
use super::reply::Mismatch;

/// The counters of a run, or of one thread since they were last added to those of the run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Connections that were started, including failed attempts.
    pub(crate) started: u64,
    /// Connections that were open when the user interrupted the run.
    pub(crate) unfinished: u64,
    /// Connections that were due by the end, with a rate, and never started.
    pub(crate) not_started: u64,
    /// Answered connections, by source address and evidence.
    answered: Vec<Answered>,
    /// Failed connections, in the order of [`ConnectionError::ALL`].
    errors: [u64; ConnectionError::ALL.len()],
    /// The first wrong reply.
    pub(crate) wrong_reply: Option<Mismatch>,
    /// The first errno counted as [`ConnectionError::Other`].
    pub(crate) other_errno: Option<i32>,
    pub(crate) times: Times,
    /// Time from the beginning of the run to the end of new connections, or to the last reply, whichever is later.
    pub(crate) elapsed: Duration,
    pub(crate) cpu: CpuTime,
    pub(crate) interrupted: bool,
}

#[derive(Debug, Default, Clone)]
struct Answered {
    /// A short list, since only about ten combinations are possible.
    by_evidence: Vec<(Attempt, Option<TcpBits>, u64)>,
    /// Whether a cookie was granted to this source.
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

/// Times in nanoseconds, from a connection's start or, with a rate, from when it was due.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// Time to the first byte, of connections whose SYN data was acknowledged.
    pub(crate) fast_open: Histogram<u64>,
    /// Time to the first byte, of all other connections.
    pub(crate) regular: Histogram<u64>,
    /// Time to the end of the reply, of all connections.
    pub(crate) reply: Histogram<u64>,
    /// Time from when a connection was due to its start, with a rate.
    pub(crate) start: Histogram<u64>,
}

impl Times {
    fn new() -> io::Result<Self> {
        // From 1 µs to more than the longest timeout, with three significant digits.
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

    /// Returns the times to the first byte of all connections.
    pub(crate) fn first_byte(&self) -> Histogram<u64> {
        let mut both = self.fast_open.clone();
        // Fails only for histograms with different bounds.
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
            wrong_reply: None,
            other_errno: None,
            times: Times::new()?,
            elapsed: Duration::ZERO,
            cpu: CpuTime::default(),
            interrupted: false,
        })
    }

    /// Counts a connection from this source that got its reply. `tcp` was read at the first byte.
    pub(super) fn answered(&mut self, source: usize, attempt: Attempt, tcp: Option<TcpBits>) {
        if let Some(answered) = self.answered.get_mut(source) {
            // Removes what does not affect the verdict, so that connections with the same verdict are counted
            // together: numbers, and the state of a connection that has its reply.
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

    /// Records for each source whether a cookie was granted.
    pub(super) fn record_granted(&mut self, granted: impl Iterator<Item = bool>) {
        for (answered, granted) in self.answered.iter_mut().zip(granted) {
            answered.granted |= granted;
        }
    }

    /// Adds the counters of another tally, and resets those.
    pub(super) fn add(&mut self, other: &mut Self) {
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
        self.wrong_reply = self.wrong_reply.or(other.wrong_reply);
        self.other_errno = self.other_errno.or(other.other_errno);
        for (own, times) in self.times.all().into_iter().zip(other.times.all()) {
            // Fails only for histograms with different bounds.
            let _ = own.add(&*times);
            times.reset();
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.cpu.user += std::mem::take(&mut other.cpu.user);
        self.cpu.system += std::mem::take(&mut other.cpu.system);
        (other.started, other.unfinished, other.not_started) = (0, 0, 0);
    }

    /// Returns the number of answered connections by verdict, the most frequent first.
    pub(crate) fn verdicts(&self) -> Vec<(Outcome, Option<Cause>, u64)> {
        let mut verdicts: Vec<(Outcome, Option<Cause>, u64)> = Vec::new();
        // A server that grants a cookie to one source grants cookies to all of them, but some may have been
        // evicted before the cache was checked.
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

    /// Returns the hit rate of the connections that got their reply, from 0 to 1. `None`: none tried fast open.
    pub(crate) fn hit_rate(&self) -> Option<f64> {
        let counts = self.verdicts().into_iter().map(|(outcome, _, count)| (outcome, count));
        counts.collect::<HitRate>().share()
    }

    /// Returns the number of connections that got their reply.
    pub(crate) fn replies(&self) -> u64 {
        let counts = self.answered.iter().flat_map(|answered| &answered.by_evidence);
        counts.map(|(.., count)| count).sum()
    }

    /// Returns the number of connections that got their reply and whose SYN data was acknowledged.
    pub(crate) fn fast_open(&self) -> u64 {
        self.times.fast_open.len()
    }

    /// Returns the number of failed connections by error.
    pub(crate) fn connection_errors(&self) -> impl Iterator<Item = (ConnectionError, u64)> {
        ConnectionError::ALL.into_iter().zip(self.errors)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Returns the replies per second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.replies(), self.elapsed)
    }

    /// Divides a time by the number of started connections. Returns microseconds.
    #[expect(clippy::cast_precision_loss, reason = "2^53 connections take a while")]
    pub(crate) fn per_connection(&self, time: Duration) -> f64 {
        if self.started == 0 { 0.0 } else { time.as_secs_f64() * 1e6 / self.started as f64 }
    }

    /// Returns the 99th percentile of the time to the first byte, counting a connection without a reply as slower
    /// than any other. `None` if more than 1 % have no reply.
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
