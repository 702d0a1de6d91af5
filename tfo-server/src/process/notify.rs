//! What the server tells its supervisor, systemd: ready, reloading, stopping, alive.
//!
//! Without a supervisor who listens (`NOTIFY_SOCKET`) nothing is told.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// `READY=1`: it serves. Ends a reload too.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// `RELOADING=1`, with the moment: systemd (`Type=notify-reload`) tells by it which SIGHUP is answered.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => {
            tell(&[NotifyState::Reloading, now, NotifyState::Status("reading its settings again")]);
        }
        Err(e) => log::warn!("systemd is not told of the reload: {e}"),
    }
}

/// `STOPPING=1`: it drains, which may take so long.
pub(crate) fn stopping(status: &str, at_most: Duration) {
    let limit = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    // More than it takes: systemd kills who is a moment late.
    let limit = limit.saturating_add(1_000_000);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(limit),
        NotifyState::Status(status),
    ]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        log::warn!("systemd can't be told: {e}");
    }
}

/// `WATCHDOG=1`, twice in each period that systemd allows (`WatchdogSec=`), but only as long as each worker
/// has answered what it was asked the time before. A server that hangs is restarted.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Duration,
    next: Instant,
}

impl Watchdog {
    /// `None`: nobody watches.
    pub(crate) fn from_environment(now: Instant) -> Option<Self> {
        let period = sd_notify::watchdog_enabled().filter(|period| !period.is_zero())?;
        Some(Self { every: period / 2, next: now })
    }

    /// When it has to be looked after next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Tells that all is well, if it is time to and `alive` says so. Returns whether it was time: then
    /// the workers are to be asked again.
    pub(crate) fn look(&mut self, now: Instant, alive: impl FnOnce() -> bool) -> bool {
        if now < self.next {
            return false;
        }
        // Not from `next` on: after a pause of the whole machine there is nothing to catch up with.
        self.next = now + self.every;
        if alive() {
            tell(&[NotifyState::Watchdog]);
        } else {
            log::warn!(
                "a worker has not answered for {:?}: systemd is not told that all is well",
                self.every
            );
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_due_twice_a_period_and_never_catches_up() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut watchdog = Watchdog { every: second, next: start };
        assert!(watchdog.look(start, || false), "at once");
        assert!(!watchdog.look(start + second / 2, || panic!("nobody is asked before it is time")));
        assert!(watchdog.look(start + second, || false));
        let late = start + 60 * second;
        assert!(watchdog.look(late, || false));
        assert_eq!(watchdog.next(), late + second);
    }
}
