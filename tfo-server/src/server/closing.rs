//! Listeners that close without losing a connection.
//!
//! 1. Their sockets drop new connections ([`drop_new_connections`]); workers go on accepting.
//! 2. The handshakes that had begun end, which the supervisor checks every [`CHECK_INTERVAL`], at most for [`MAX_WAIT`].
//! 3. Workers accept what waits, and close the sockets.
//!
//! Inherited sockets outlive the server and are left as they are: step 3 follows at once.
//!
//! [`drop_new_connections`]: tfo_core::socket::FastOpenListener::drop_new_connections

use std::collections::HashSet;
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tfo_core::cli::error_chain;
use tfo_core::host::unfinished_handshakes;

use super::listeners::BoundListener;

/// The first check comes after as long: a SYN that the kernel was at by then may still begin a handshake.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// A handshake that takes longer is given up: its client, or its path, is gone.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Listeners in step 2.
#[derive(Debug, Default)]
pub(super) struct ClosingListeners {
    listeners: Vec<ClosingListener>,
    next_check: Option<Instant>,
    /// The handshakes could not be counted, and that was logged.
    warned: bool,
}

#[derive(Debug)]
struct ClosingListener {
    number: usize,
    port: u16,
    since: Instant,
}

impl ClosingListeners {
    /// Begins to close a listener; `false`: there is nothing to wait for.
    pub(super) fn start(&mut self, bound: &BoundListener, now: Instant) -> bool {
        let own = bound.sockets.iter().filter(|socket| !socket.is_inherited());
        let mut dropped = 0;
        for socket in own {
            match socket.drop_new_connections() {
                Ok(()) => dropped += 1,
                Err(e) => log::warn!(
                    "{}: clients that connect at this moment may be reset: {}",
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

    /// Whether a listener on this port is about to close.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.listeners.iter().any(|listener| listener.port == port)
    }

    /// When [`take_finished`](Self::take_finished) should be called next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.next_check
    }

    /// The numbers of the listeners whose handshakes have ended: they go on with step 3.
    pub(super) fn take_finished(&mut self, now: Instant) -> Vec<usize> {
        if self.next_check.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let unfinished = unfinished_handshakes();
        if let Err(e) = &unfinished
            && !mem::replace(&mut self.warned, true)
        {
            log::warn!(
                "unfinished handshakes can't be counted, waiting {MAX_WAIT:?}: {}",
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
