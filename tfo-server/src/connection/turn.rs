//! A connection's turn in its worker's event loop: what the worker lends for it, how much the connection may do,
//! and what comes of it.
//!
//! No byte of one connection can reach another:
//! 1. [`InputBuffer`] shows only bytes that were read since it was lent ([`LentInput`]).
//! 2. [`OutputBuffer`] is empty when lent and emptied when given back, on every path ([`LentOutput`]).
//! 3. [`Pipes`] takes back only pipes that are empty; all others are closed.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::pipes::Pipes;
use crate::service::SessionOutput;
use crate::service::http::Date;

/// How long a closing connection waits for the peer's end.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// What a connection needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriveOutcome {
    /// An event on its socket.
    Wait,
    /// Another turn: there may be more to read.
    Again,
    /// Another turn at once, if its client, known by now, may have one more connection.
    ClientKnown,
    /// Nothing: it is over.
    Done,
}

/// What a worker lends to the connection whose turn it is.
pub(crate) struct WorkerScratch {
    pub(crate) input: InputBuffer,
    pub(crate) turn: TurnContext,
}

/// What a turn needs besides the bytes that are read in it.
pub(crate) struct TurnContext {
    pub(crate) out: OutputBuffer,
    pub(crate) pipes: Pipes,
    pub(crate) date: Date,
    /// The time, as of this turn of the loop or the last connection's end: each look at the clock costs.
    pub(crate) now: Instant,
    /// The drain has begun.
    pub(crate) ending: bool,
}

/// Memory to read into, shared by a worker's connections.
pub(crate) struct InputBuffer(Box<[u8]>);

/// An [`InputBuffer`] in use: shows only what was read into it meanwhile.
pub(crate) struct LentInput<'a> {
    memory: &'a mut [u8],
    len: usize,
}

/// Memory for answers, shared by a worker's connections.
#[derive(Default)]
pub(crate) struct OutputBuffer(SessionOutput);

/// An [`OutputBuffer`] in use: empty at first, and emptied when it is dropped.
pub(crate) struct LentOutput<'a>(&'a mut SessionOutput);

impl InputBuffer {
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len].into_boxed_slice())
    }

    /// Lends at most `most` bytes of it.
    pub(crate) fn lend(&mut self, most: usize) -> LentInput<'_> {
        let len = most.min(self.0.len());
        LentInput { memory: self.0.get_mut(..len).unwrap_or_default(), len: 0 }
    }
}

impl LentInput<'_> {
    /// Reads behind what was read before; returns the number of bytes that came.
    ///
    /// # Errors
    /// Those of `read`, which is given the free memory and returns the number of bytes that it wrote there.
    pub(crate) fn read(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let free = self.memory.get_mut(self.len..).unwrap_or_default();
        let len = read(free)?.min(free.len());
        self.len += len;
        Ok(len)
    }

    /// All that was read.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.memory.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Forgets what was read.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

impl OutputBuffer {
    pub(crate) fn lend(&mut self) -> LentOutput<'_> {
        // Whatever may have happened to the guard before.
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

/// How much a connection may do in one turn, so that none keeps its neighbours waiting: a number of steps, of
/// bytes, and a time.
pub(crate) struct TurnBudget {
    steps: u32,
    bytes: usize,
    /// Known once the first step is done: most connections need no second one.
    until: Option<Instant>,
}

impl TurnBudget {
    const STEPS: u32 = 16;
    pub(crate) const BYTES: usize = 128 * 1024;
    const TIME: Duration = Duration::from_micros(500);

    pub(crate) const fn new() -> Self {
        Self { steps: Self::STEPS, bytes: Self::BYTES, until: None }
    }

    /// Records a step that moved this many bytes.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.steps = self.steps.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether the turn is over.
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
    fn read_buffer_shows_only_what_was_read_since_it_was_lent() {
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
        // A reader that claims more than there is room for.
        assert_eq!(second.read(|_| Ok(100)).unwrap(), 2);
        assert!(second.is_full());
        second.clear();
        assert_eq!(second.bytes(), b"");
    }

    #[test]
    fn out_buffer_is_empty_after_every_way_to_give_it_back() {
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
