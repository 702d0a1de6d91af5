//! Descriptors reserved for metrics, so that a server that has none left can still be monitored. Used only on the
//! metrics thread.
//!
//! 1. The thread holds a few descriptors that it does not need. When the process has no other left, one of them is
//!    closed, and the next connection is accepted in its place, answered and closed.
//! 2. If that is not enough, or the number of peers has reached its limit, the connection that has been idle longest is
//!    closed in favour of the new one.
//! 3. A connection younger than [`GRACE`] is not closed: its request is on its way.

use std::time::Duration;

use mio::Poll;

/// Number of reserved descriptors, so that several peers can be answered at a time.
const RESERVED: usize = 4;
/// How long a new connection is protected: its request follows its handshake immediately.
pub(super) const GRACE: Duration = Duration::from_millis(25);

/// Reserved descriptors. Each is an epoll instance, which needs nothing but the descriptor.
#[derive(Default)]
pub(super) struct DescriptorReserve(Vec<Poll>);

impl DescriptorReserve {
    /// Refills the reserve as far as descriptors are available. Returns whether it is still incomplete.
    pub(super) fn refill(&mut self) -> bool {
        while self.0.len() < RESERVED {
            match Poll::new() {
                Ok(held) => self.0.push(held),
                Err(_) => return true,
            }
        }
        false
    }

    /// Closes one reserved descriptor. Returns whether there was one.
    pub(super) fn lend(&mut self) -> bool {
        self.0.pop().is_some()
    }
}
