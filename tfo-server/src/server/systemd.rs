//! What the server tells its supervisor, systemd: ready, reloading, stopping, alive.
//!
//! 1. The calling thread never waits: a thread of its own sends the messages, in order.
//! 2. A supervisor that reads late gets all of them, as long as it takes each within [`SEND_TIMEOUT`].
//! 3. The socket is made at the start: a server without free descriptors can still say that it lives.
//!
//! Without a supervisor who listens (`NOTIFY_SOCKET`) nothing is told.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tfo_core::cli::queue::Queue;

/// How long the supervisor may take to read a message before the message is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How many messages may wait to be sent.
const MAX_QUEUED: usize = 64;
/// The most characters of a status: systemd ignores messages of more than 4096 bytes.
const MAX_STATUS: usize = 900;
/// How long the end waits for the last messages to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Sends messages to the supervisor; by default to nobody.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Option<Queue<String>>);

impl Notifier {
    /// Starts the thread that sends, if there is a supervisor.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = match NotifySocket::new(&name) {
            Ok(socket) => socket,
            Err(e) => {
                log::warn!("systemd can't be told: {e}");
                return Ok(Self::default());
            }
        };
        let queue = Queue::new(MAX_QUEUED);
        let messages = queue.clone();
        let thread = thread::Builder::new().name("notify".to_owned());
        thread.spawn(move || socket.send_all(&messages))?;
        Ok(Self(Some(queue)))
    }

    /// `READY=1`: it serves. Ends a reload too.
    pub(crate) fn ready(&self, status: &str) {
        let status: String = status.chars().take(MAX_STATUS).collect();
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// `RELOADING=1`, with the moment: systemd (`Type=notify-reload`) tells by it which SIGHUP is answered.
    pub(crate) fn reloading(&self) {
        let status = NotifyState::Status("reading its settings again");
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now, status]),
            Err(e) => log::warn!("systemd is not told of the reload: {e}"),
        }
    }

    /// `STOPPING=1`: it drains, which may take so long.
    pub(crate) fn stopping(&self, status: &str, at_most: Duration) {
        let limit = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
        // More than it takes: systemd kills who is a moment late.
        let limit = limit.saturating_add(1_000_000);
        self.send(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(limit),
            NotifyState::Status(status),
        ]);
    }

    /// `WATCHDOG=1`. While earlier messages wait it says nothing that they do not.
    fn alive(&self) {
        if self.0.as_ref().is_some_and(Queue::is_empty) {
            self.send(&[NotifyState::Watchdog]);
        }
    }

    /// Waits for a moment until all messages are sent.
    pub(crate) fn finish(&self) {
        if let Some(queue) = &self.0 {
            // The supervisor sees the end of the process anyway.
            let _ = queue.drain(FLUSH_TIMEOUT, FLUSH_TIMEOUT);
        }
    }

    fn send(&self, state: &[NotifyState<'_>]) {
        let Some(queue) = &self.0 else { return };
        let parts: Vec<_> = state.iter().map(ToString::to_string).collect();
        let message = parts.join("\n") + "\n";
        if !queue.put(message) {
            log::warn!("systemd can't be told: {MAX_QUEUED} messages wait for it already");
        }
    }
}

/// Where the messages go.
struct NotifySocket {
    socket: UnixDatagram,
    supervisor: SocketAddr,
}

impl NotifySocket {
    fn new(name: &OsStr) -> io::Result<Self> {
        let supervisor = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket, supervisor })
    }

    /// Sends the messages, for ever.
    fn send_all(&self, messages: &Queue<String>) {
        loop {
            let message = messages.take();
            match self.socket.send_to_addr(message.as_bytes(), &self.supervisor) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    log::warn!("systemd can't be told: it has read nothing for {SEND_TIMEOUT:?}");
                }
                Err(e) => log::warn!("systemd can't be told: {e}"),
            }
        }
    }
}

/// `WATCHDOG=1`, twice in each period that systemd allows (`WatchdogSec=`), but only as long as each worker
/// has answered what it was asked the time before. A server that hangs is restarted.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Duration,
    next_check: Instant,
}

impl Watchdog {
    /// `None`: nobody watches.
    pub(crate) fn from_environment(now: Instant) -> Option<Self> {
        let period = sd_notify::watchdog_enabled().filter(|period| !period.is_zero())?;
        Some(Self { every: period / 2, next_check: now })
    }

    /// When [`check`](Self::check) should be called next.
    pub(crate) fn next_check(&self) -> Instant {
        self.next_check
    }

    /// Tells that all is well, if it is time to and `alive` says so. Returns whether it was time: then
    /// the workers are to be asked again.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        notifier: &Notifier,
        alive: impl FnOnce() -> bool,
    ) -> bool {
        if now < self.next_check {
            return false;
        }
        // Not from `next_check` on: after a pause of the whole machine there is nothing to catch up with.
        self.next_check = now + self.every;
        if alive() {
            notifier.alive();
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
        let mut watchdog = Watchdog { every: second, next_check: start };
        let nobody = Notifier::default();
        assert!(watchdog.check(start, &nobody, || false), "at once");
        let early = start + second / 2;
        assert!(!watchdog.check(early, &nobody, || panic!("nobody is asked before it is time")));
        assert!(watchdog.check(start + second, &nobody, || false));
        let late = start + 60 * second;
        assert!(watchdog.check(late, &nobody, || false));
        assert_eq!(watchdog.next_check(), late + second);
    }
}
