//! What the workers have in common: counters, and a way to wake the main thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::Waker;

use super::super::budget::Budget;
use super::super::sources::Sources;

/// What all workers share.
#[derive(Debug)]
pub(in crate::engine) struct Shared {
    pub(in crate::engine) open: AtomicUsize,
    /// The most that may be.
    pub(in crate::engine) most: AtomicUsize,
    pub(in crate::engine) sources: Sources,
    pub(in crate::engine) budget: Arc<Budget>,
    /// Workers that can't accept, for want of descriptors.
    pub(in crate::engine) starved: AtomicUsize,
    /// Workers that have stopped accepting.
    pub(in crate::engine) stopped: AtomicUsize,
    /// Workers that have answered since the supervisor asked.
    pub(in crate::engine) answered: AtomicUsize,
    /// Wakes the supervisor.
    pub(in crate::engine) supervisor: Arc<Waker>,
}

impl Shared {
    /// So many connections may be open at once.
    pub(in crate::engine) fn new(most: usize, workers: usize, supervisor: Arc<Waker>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            sources: Sources::default(),
            budget: Arc::default(),
            starved: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
            // As if each had been asked, and had answered.
            answered: AtomicUsize::new(workers),
            supervisor,
        }
    }

    /// Somebody waits in vain.
    pub(in crate::engine) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed) > 0
    }

    /// No more may be accepted.
    pub(in crate::engine) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed)
    }
}
