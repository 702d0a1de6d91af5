//! A timer for the next start with nanosecond resolution: that of `epoll_wait(2)` is a millisecond.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A `timerfd` that wakes an event loop.
#[derive(Debug)]
pub(super) struct StartTimer {
    timer: TimerFd,
    begin: Instant,
    /// The time that the timer was last set to, in nanoseconds since `begin`.
    due: u64,
}

impl StartTimer {
    pub(super) fn new(registry: &Registry, token: Token, begin: Instant) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let fd = timer.as_fd().as_raw_fd();
        // Each expiry triggers an edge, so the event loop never has to read the timer.
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        Ok(Self { timer, begin, due: 0 })
    }

    /// Sets the timer to wake the event loop at `due`, in nanoseconds since `begin`.
    pub(super) fn set(&mut self, due: u64) -> io::Result<()> {
        if self.due != due {
            // Zero would disarm the timer.
            let left = Duration::from_nanos(due).saturating_sub(self.begin.elapsed());
            let time = TimeSpec::from_duration(left.max(Duration::from_nanos(1)));
            self.timer.set(Expiration::OneShot(time), TimerSetTimeFlags::empty())?;
            self.due = due;
        }
        Ok(())
    }
}
