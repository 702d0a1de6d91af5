//! A worker's pool of pipes for `splice`.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tfo_core::socket;

use super::budget::DescriptorBudget;

/// Maximum number of idle pipes: as many as connections use between two events.
const MAX_IDLE: usize = 16;

/// The pipes of a worker. A connection holds one only while bytes are in it.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    budget: Arc<DescriptorBudget>,
    #[expect(clippy::vec_box, reason = "keeps connections without a pipe small")]
    idle: Vec<Box<Pipe>>,
    used: bool,
}

/// A pipe, which counts as two descriptors until it is dropped.
#[derive(Debug)]
pub(super) struct Pipe {
    pipe: socket::Pipe,
    budget: Arc<DescriptorBudget>,
}

impl Deref for Pipe {
    type Target = socket::Pipe;

    fn deref(&self) -> &socket::Pipe {
        &self.pipe
    }
}

impl DerefMut for Pipe {
    fn deref_mut(&mut self) -> &mut socket::Pipe {
        &mut self.pipe
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.budget.give_back_pipe();
    }
}

impl Pipes {
    pub(crate) fn new(budget: Arc<DescriptorBudget>) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Returns an empty pipe, or `None` if no descriptors are left.
    pub(super) fn take(&mut self) -> Option<Box<Pipe>> {
        self.used = true;
        self.idle.pop().or_else(|| self.make())
    }

    fn make(&self) -> Option<Box<Pipe>> {
        if !self.budget.take_pipe() {
            return None;
        }
        let pipe = socket::Pipe::new().inspect_err(|_| self.budget.give_back_pipe()).ok()?;
        Some(Box::new(Pipe { pipe, budget: Arc::clone(&self.budget) }))
    }

    /// Returns a pipe to the pool. A pipe that is not empty is closed.
    pub(super) fn give_back(&mut self, pipe: Box<Pipe>) {
        if pipe.is_empty() && self.idle.len() < MAX_IDLE {
            self.idle.push(pipe);
        }
    }

    /// Closes the idle pipes if none was used since the last call.
    pub(crate) fn close_unused(&mut self) {
        if !std::mem::take(&mut self.used) {
            self.idle = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_pipes_are_reused_and_closed_when_unused() {
        let mut pipes = Pipes::default();
        let all: Vec<_> = (0..MAX_IDLE + 3).map(|_| pipes.take().unwrap()).collect();
        for pipe in all {
            pipes.give_back(pipe);
        }
        assert_eq!(pipes.idle.len(), MAX_IDLE, "the pool is bounded");
        pipes.close_unused();
        let pipe = pipes.take().unwrap();
        assert_eq!(pipes.idle.len(), MAX_IDLE - 1, "an idle pipe was used");
        pipes.give_back(pipe);
        pipes.close_unused();
        assert_eq!(pipes.idle.len(), MAX_IDLE, "used since the last call");
        pipes.close_unused();
        assert_eq!(pipes.idle.len(), 0);
    }
}
