//! Notifies systemd, or another supervisor, of the server's state: ready, reloading, stopping, alive.
//!
//! 1. The calling thread never waits: a dedicated thread sends the messages in order.
//! 2. A supervisor that reads late receives all messages if it reads each within [`SEND_TIMEOUT`].
//! 3. The socket is created at the start, so that a server without free descriptors can still report that it is alive.
//!
//! Without `NOTIFY_SOCKET` nothing is sent.

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

/// How long to wait for the supervisor to read a message before the message is dropped.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of queued messages.
const MAX_QUEUED: usize = 64;
/// Maximum number of characters in a status: systemd ignores messages of more than 4096 bytes.
const MAX_STATUS: usize = 900;
/// How long to wait at the end for the last messages to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Sends messages to the supervisor. By default there is none.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Option<Queue<String>>);

impl Notifier {
    /// Starts the sending thread, if there is a supervisor.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = match NotifySocket::new(&name) {
            Ok(socket) => socket,
            Err(e) => {
                log::warn!("can't notify systemd: {e}");
                return Ok(Self::default());
            }
        };
        let queue = Queue::new(MAX_QUEUED);
        let messages = queue.clone();
        let thread = thread::Builder::new().name("notify".to_owned());
        thread.spawn(move || socket.send_all(&messages))?;
        Ok(Self(Some(queue)))
    }

    /// `READY=1`: the server is serving. Also ends a reload.
    pub(crate) fn ready(&self, status: &str) {
        let status: String = status.chars().take(MAX_STATUS).collect();
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// `RELOADING=1`, with the current time, by which systemd (`Type=notify-reload`) finds out which SIGHUP was
    /// handled.
    pub(crate) fn reloading(&self) {
        let status = NotifyState::Status("reloading the settings");
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now, status]),
            Err(e) => log::warn!("can't notify systemd of the reload: {e}"),
        }
    }

    /// `STOPPING=1`: the server is draining, which takes `at_most` this long.
    pub(crate) fn stopping(&self, status: &str, at_most: Duration) {
        let limit = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
        // One second more than needed: systemd kills the process when the time is over.
        let limit = limit.saturating_add(1_000_000);
        self.send(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(limit),
            NotifyState::Status(status),
        ]);
    }

    /// `WATCHDOG=1`. Not sent while earlier messages are queued, since they show that the server is alive as well.
    fn alive(&self) {
        if self.0.as_ref().is_some_and(Queue::is_empty) {
            self.send(&[NotifyState::Watchdog]);
        }
    }

    /// Waits up to [`FLUSH_TIMEOUT`] until all messages are sent.
    pub(crate) fn finish(&self) {
        if let Some(queue) = &self.0 {
            // The supervisor notices the end of the process anyway.
            let _ = queue.drain(FLUSH_TIMEOUT, FLUSH_TIMEOUT);
        }
    }

    fn send(&self, state: &[NotifyState<'_>]) {
        let Some(queue) = &self.0 else { return };
        let parts: Vec<_> = state.iter().map(ToString::to_string).collect();
        let message = parts.join("\n") + "\n";
        if !queue.put(message) {
            log::warn!("can't notify systemd: {MAX_QUEUED} messages are queued already");
        }
    }
}

/// The socket of the notifications, and the supervisor's address.
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

    /// Sends the messages, in an endless loop.
    fn send_all(&self, messages: &Queue<String>) {
        loop {
            let message = messages.take();
            match self.socket.send_to_addr(message.as_bytes(), &self.supervisor) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    log::warn!("can't notify systemd: it has read nothing for {SEND_TIMEOUT:?}");
                }
                Err(e) => log::warn!("can't notify systemd: {e}"),
            }
        }
    }
}

/// Sends `WATCHDOG=1` twice per period (`WatchdogSec=`) while every worker has answered the previous request. If a
/// worker hangs, systemd restarts the server.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Duration,
    next_check: Instant,
}

impl Watchdog {
    /// Returns `None` if systemd does not watch this process.
    pub(crate) fn from_environment(now: Instant) -> Option<Self> {
        let period = sd_notify::watchdog_enabled().filter(|period| !period.is_zero())?;
        Some(Self { every: period / 2, next_check: now })
    }

    /// Returns when to call [`check`](Self::check) next.
    pub(crate) fn next_check(&self) -> Instant {
        self.next_check
    }

    /// Notifies systemd if the check is due and `alive` returns true. Returns whether the check was due; the caller
    /// then sends the next request to the workers.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        notifier: &Notifier,
        alive: impl FnOnce() -> bool,
    ) -> bool {
        if now < self.next_check {
            return false;
        }
        // Not `next_check + every`: after the machine was suspended, missed checks are not made up for.
        self.next_check = now + self.every;
        if alive() {
            notifier.alive();
        } else {
            log::warn!(
                "a worker has not answered for {:?}: not notifying systemd's watchdog",
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
    fn watchdog_is_due_twice_per_period_and_skips_missed_checks() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut watchdog = Watchdog { every: second, next_check: start };
        let notifier = Notifier::default();
        assert!(watchdog.check(start, &notifier, || false), "at once");
        let early = start + second / 2;
        assert!(!watchdog.check(early, &notifier, || panic!("asked before the check is due")));
        assert!(watchdog.check(start + second, &notifier, || false));
        let late = start + 60 * second;
        assert!(watchdog.check(late, &notifier, || false));
        assert_eq!(watchdog.next_check(), late + second);
    }
}
