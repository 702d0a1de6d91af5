//! Room for those who watch a server that has none left: on the thread of the metrics alone.
//!
//! 1. The thread holds a few descriptors that it does not need. When the process has no other left, a connection
//!    is accepted in the place of one of them, is answered, and closed.
//! 2. When that is not enough, or as many peers are connected as may be, the one that has been idle longest
//!    is closed in favour of the new one.
//! 3. A peer that has just come is not closed: its request is under way.

use std::time::Duration;

use mio::Poll;

/// How many descriptors are held back, so that several peers can be answered at a time.
const RESERVED: usize = 4;
/// How long a new peer is let alone: its request leaves with the end of its handshake.
pub(super) const GRACE: Duration = Duration::from_millis(25);

/// Descriptors that are held back. Each is an epoll instance, which needs nothing but a descriptor.
#[derive(Default)]
pub(super) struct DescriptorReserve(Vec<Poll>);

impl DescriptorReserve {
    /// Fills up as far as there are descriptors. Returns whether any is lent still.
    pub(super) fn refill(&mut self) -> bool {
        while self.0.len() < RESERVED {
            match Poll::new() {
                Ok(held) => self.0.push(held),
                Err(_) => return true,
            }
        }
        false
    }

    /// Makes one descriptor free. Returns whether there was any.
    pub(super) fn lend(&mut self) -> bool {
        self.0.pop().is_some()
    }
}
