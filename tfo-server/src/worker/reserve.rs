//! Room for those who watch a server that has none left: on the thread of the metrics alone.
//!
//! 1. The thread holds a few descriptors that it does not need. When the process has no other left, a connection
//!    is accepted in the place of one of them, is answered, and closed.
//! 2. When that is not enough, or as many peers are connected as may be, the one that has been idle longest
//!    is closed in favour of the new one.
//! 3. A peer that has just come is not closed: its request is under way.

use std::time::{Duration, Instant};

use mio::Poll;

use super::Worker;
use super::accepting::PAUSE;
use crate::close_reason::Cut;

/// How many descriptors are held back, so that several peers can be answered at a time.
const RESERVED: usize = 4;
/// How long a new peer is let alone: its request leaves with the end of its handshake.
const GRACE: Duration = Duration::from_millis(25);

/// Descriptors that are held back. Each is an epoll instance, which needs nothing but a descriptor.
#[derive(Default)]
pub(super) struct Reserve(Vec<Poll>);

impl Reserve {
    /// Fills up as far as there are descriptors. Returns whether any is lent still.
    fn refill(&mut self) -> bool {
        while self.0.len() < RESERVED {
            match Poll::new() {
                Ok(held) => self.0.push(held),
                Err(_) => return true,
            }
        }
        false
    }
}

impl Worker {
    /// Holds descriptors back for its own peers, and closes idle ones when it has no room.
    pub(crate) fn with_reserve(mut self) -> Self {
        self.reserve = Some(Reserve::default());
        self.refill_reserve();
        self
    }

    /// Takes back what was lent, as far as it is free again.
    pub(super) fn refill_reserve(&mut self) {
        if let Some(reserve) = &mut self.reserve {
            // Who is answered while something is lent is not kept for another request.
            self.tools.context.ending = reserve.refill() || self.drain_until.is_some();
        }
    }

    /// Makes a descriptor free for the next connection. Returns whether it is worth trying again.
    pub(super) fn lend_descriptor(&mut self) -> bool {
        let Some(reserve) = &mut self.reserve else { return false };
        if reserve.0.pop().is_none() {
            return self.close_idlest();
        }
        self.tools.context.ending = true;
        true
    }

    /// How long to wait before accepting is tried again.
    pub(super) fn pause(&self) -> Duration {
        if self.reserve.is_some() { GRACE } else { PAUSE }
    }

    /// Makes room for one more connection. Returns whether there is some.
    pub(super) fn make_room(&mut self) -> bool {
        self.reserve.is_some() && self.shared.is_full() && self.close_idlest()
    }

    /// Closes the connection that has been idle longest, or, if all are at work, the one whose deadline is
    /// next.
    fn close_idlest(&mut self) -> bool {
        let now = Instant::now();
        let old = |started: Instant| now.saturating_duration_since(started) >= GRACE;
        let candidates = self.connections.iter().filter(|(_, one)| old(one.started));
        let idlest = candidates.min_by_key(|(_, one)| (!one.has_sent_all(), one.deadline));
        let Some((index, _)) = idlest else { return false };
        self.end(index, Some(Cut::IdleTimeout.into()));
        self.close_ended();
        true
    }
}
