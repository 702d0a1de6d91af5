//! A connection's turn in its worker's event loop: what the worker lends for the turn, how much the connection may do
//! in it ([`TurnBudget`]), and the result ([`DriveOutcome`]).
//!
//! Each worker has one [`WorkerScratch`] and lends it to one connection at a time, so that connections need no buffers
//! of their own.
//!
//! Invariants:
//!
//! 1. A turn is bounded in steps, bytes and time. The last step may exceed the number of bytes by one read.
//! 2. No byte of one connection can reach another:
//!    - [`InputBuffer`] exposes only bytes that were read since it was lent ([`LentInput`]).
//!    - [`OutputBuffer`] is empty when lent, and is emptied when returned, on every path ([`LentOutput`]).
//!    - [`Pipes`] accepts only empty pipes; all others are closed.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::pipes::Pipes;
use crate::service::SessionOutput;
use crate::service::http::Date;

/// How long a closing connection waits for the peer to close.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// The result of a turn: what the connection needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriveOutcome {
    /// An event on one of its sockets.
    Wait,
    /// Another turn: more bytes may be readable.
    Again,
    /// Another turn at once, if the client, which is now known, may have one more connection.
    ClientKnown,
    /// Nothing: the connection has ended.
    Done,
}

/// The buffers and state that a worker lends to a connection for its turn.
pub(crate) struct WorkerScratch {
    pub(crate) input: InputBuffer,
    pub(crate) turn: TurnContext,
}

/// The resources of a turn, except the input buffer.
pub(crate) struct TurnContext {
    pub(crate) out: OutputBuffer,
    pub(crate) pipes: Pipes,
    pub(crate) date: Date,
    /// The time at the start of this pass of the loop or at the last connection's end. Cached, because reading the
    /// clock for each connection would be costly.
    pub(crate) now: Instant,
    /// The server is draining.
    pub(crate) ending: bool,
}

/// A read buffer that all connections of a worker share.
pub(crate) struct InputBuffer(Box<[u8]>);

/// An [`InputBuffer`] in use. Exposes only what was read since it was lent.
pub(crate) struct LentInput<'a> {
    memory: &'a mut [u8],
    len: usize,
}

/// An output buffer that all connections of a worker share.
#[derive(Default)]
pub(crate) struct OutputBuffer(SessionOutput);

/// An [`OutputBuffer`] in use: initially empty, and emptied on drop.
pub(crate) struct LentOutput<'a>(&'a mut SessionOutput);

impl InputBuffer {
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len].into_boxed_slice())
    }

    /// Lends at most `max` bytes of the buffer.
    pub(crate) fn lend(&mut self, max: usize) -> LentInput<'_> {
        let len = max.min(self.0.len());
        LentInput { memory: self.0.get_mut(..len).unwrap_or_default(), len: 0 }
    }
}

impl LentInput<'_> {
    /// Appends to what was read before. Returns the number of bytes read.
    ///
    /// # Errors
    /// Those of `read`, which receives the free part of the buffer and returns the number of bytes that it wrote.
    pub(crate) fn read(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let free = self.memory.get_mut(self.len..).unwrap_or_default();
        let len = read(free)?.min(free.len());
        self.len += len;
        Ok(len)
    }

    /// Returns all bytes read since the buffer was lent.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.memory.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Discards the bytes read so far.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

impl OutputBuffer {
    pub(crate) fn lend(&mut self) -> LentOutput<'_> {
        // The guard's destructor may not have run.
        self.0.clear();
        LentOutput(&mut self.0)
    }
}

impl Deref for LentOutput<'_> {
    type Target = SessionOutput;

    fn deref(&self) -> &SessionOutput {
        self.0
    }
}

impl DerefMut for LentOutput<'_> {
    fn deref_mut(&mut self) -> &mut SessionOutput {
        self.0
    }
}

impl Drop for LentOutput<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// How much a connection may do in one turn, so that no connection delays the others: a number of steps, a number of
/// bytes, and a time.
pub(crate) struct TurnBudget {
    steps: u32,
    bytes: usize,
    /// Set by the first check after a step: most connections need no second step.
    until: Option<Instant>,
}

impl TurnBudget {
    const STEPS: u32 = 16;
    pub(crate) const BYTES: usize = 128 * 1024;
    const TIME: Duration = Duration::from_micros(500);

    pub(crate) const fn new() -> Self {
        Self { steps: Self::STEPS, bytes: Self::BYTES, until: None }
    }

    /// Records a step that moved `bytes` bytes.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.steps = self.steps.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Returns whether the turn is over.
    pub(crate) fn is_spent(&mut self) -> bool {
        if self.steps == Self::STEPS {
            return false;
        }
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + Self::TIME);
        self.steps == 0 || self.bytes == 0 || now >= until
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn input_buffer_exposes_only_bytes_read_since_lent() {
        let mut buffer = InputBuffer::new(16);
        let write = |bytes: &'static [u8]| {
            move |free: &mut [u8]| {
                free[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
        };
        let mut first = buffer.lend(64);
        assert_eq!(first.read(write(b"secret")).unwrap(), 6);
        assert_eq!(first.read(write(b"s of A")).unwrap(), 6);
        assert_eq!(
            (first.bytes(), first.is_full(), first.capacity()),
            (&b"secrets of A"[..], false, 16)
        );
        let mut second = buffer.lend(2);
        assert_eq!((second.bytes(), second.capacity()), (&b""[..], 2));
        second.read(|_| Err(io::ErrorKind::WouldBlock.into())).unwrap_err();
        assert_eq!(second.bytes(), b"");
        // A reader that reports more bytes than fit.
        assert_eq!(second.read(|_| Ok(100)).unwrap(), 2);
        assert!(second.is_full());
        second.clear();
        assert_eq!(second.bytes(), b"");
    }

    #[test]
    fn output_buffer_is_empty_after_drop_panic_and_forget() {
        let mut buffer = OutputBuffer::default();
        let fill = |out: &mut SessionOutput| {
            out.bytes.extend_from_slice(b"of A");
            out.shared = Some(b"shared by A"[..].into());
        };
        fill(&mut buffer.lend());
        assert!(buffer.0.bytes.is_empty() && buffer.0.shared.is_none());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut out = buffer.lend();
            fill(&mut out);
            panic!("in the middle");
        }));
        assert!(panicked.is_err());
        assert!(buffer.0.bytes.is_empty() && buffer.0.shared.is_none());
        let mut forgotten = buffer.lend();
        fill(&mut forgotten);
        std::mem::forget(forgotten);
        let out = buffer.lend();
        assert!(out.bytes.is_empty() && out.shared.is_none());
    }

    #[test]
    fn turn_budget_is_spent_by_steps_bytes_or_time() {
        let mut budget = TurnBudget::new();
        for _ in 0..TurnBudget::STEPS {
            assert!(!budget.is_spent());
            budget.until = Some(Instant::now() + Duration::from_secs(60));
            budget.spend(1);
        }
        assert!(budget.is_spent());
        let mut budget = TurnBudget::new();
        budget.spend(usize::MAX);
        assert!(budget.is_spent());
        let mut budget = TurnBudget::new();
        budget.spend(1);
        budget.until = Some(Instant::now());
        assert!(budget.is_spent());
    }
}
