//! Closes listeners without losing connections.
//!
//! A socket that is closed resets the connections in its accept queue and the handshakes that have begun. Listeners
//! therefore close in three steps:
//!
//! 1. Their sockets drop new connections ([`drop_new_connections`]), while workers continue to accept.
//! 2. The supervisor waits for handshakes that have begun. It checks every [`CHECK_INTERVAL`], for at most
//!    [`MAX_WAIT`].
//! 3. Workers accept the queued connections and close the sockets.
//!
//! Invariants:
//!
//! 1. A listener whose sockets drop new connections closes only after step 2.
//! 2. A listener leaves step 2 after [`MAX_WAIT`] at the latest, even if its handshakes cannot be counted.
//! 3. Inherited sockets outlive the server and are left unchanged: step 3 follows at once.
//!
//! [`drop_new_connections`]: tfo_core::socket::FastOpenListener::drop_new_connections

use std::collections::HashSet;
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tfo_core::cli::error_chain;
use tfo_core::host::unfinished_handshakes;

use super::listeners::BoundListener;

/// The first check is delayed by this time as well: a SYN that the kernel was processing may still begin a handshake.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// A handshake that takes longer is abandoned: its client or the path to it has failed.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Listeners in step 2.
#[derive(Debug, Default)]
pub(super) struct ClosingListeners {
    listeners: Vec<ClosingListener>,
    next_check: Option<Instant>,
    /// A warning that handshakes could not be counted was logged.
    warned: bool,
}

#[derive(Debug)]
struct ClosingListener {
    number: usize,
    port: u16,
    since: Instant,
}

impl ClosingListeners {
    /// Starts to close a listener. Returns `false` if there is nothing to wait for.
    pub(super) fn start(&mut self, bound: &BoundListener, now: Instant) -> bool {
        let own = bound.sockets.iter().filter(|socket| !socket.is_inherited());
        let mut dropped = 0;
        for socket in own {
            match socket.drop_new_connections() {
                Ok(()) => dropped += 1,
                Err(e) => log::warn!(
                    "{}: can't drop new connections, so clients that connect now may be reset: {}",
                    bound.address,
                    error_chain(&e)
                ),
            }
        }
        if dropped > 0 {
            let (number, port) = (bound.number, bound.address.port());
            self.listeners.push(ClosingListener { number, port, since: now });
            self.next_check = Some(now + CHECK_INTERVAL);
        }
        dropped > 0
    }

    /// Returns whether a listener on this port is closing.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.listeners.iter().any(|listener| listener.port == port)
    }

    /// Returns when to call [`take_finished`](Self::take_finished) next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.next_check
    }

    /// Returns the numbers of the listeners whose handshakes are complete: step 3 follows for them.
    pub(super) fn take_finished(&mut self, now: Instant) -> Vec<usize> {
        if self.next_check.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let unfinished = unfinished_handshakes();
        if let Err(e) = &unfinished
            && !mem::replace(&mut self.warned, true)
        {
            log::warn!(
                "can't count unfinished handshakes, so waiting {MAX_WAIT:?}: {}",
                error_chain(e)
            );
        }
        let ports: Option<HashSet<u16>> =
            unfinished.ok().map(|all| all.iter().map(SocketAddr::port).collect());
        let mut finished = Vec::new();
        self.listeners.retain(|listener| {
            let late = now.saturating_duration_since(listener.since) >= MAX_WAIT;
            let ended = ports.as_ref().is_some_and(|ports| !ports.contains(&listener.port));
            if late || ended {
                finished.push(listener.number);
            }
            !late && !ended
        });
        self.next_check = (!self.listeners.is_empty()).then(|| now + CHECK_INTERVAL);
        finished
    }
}
