//! State that all workers share: counters, limits, and the waker of the main thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::Waker;

use super::source_limiter::SourceLimiter;
use crate::connection::budget::DescriptorBudget;

/// The state that all workers share.
#[derive(Debug)]
pub(crate) struct SharedState {
    pub(crate) open: AtomicUsize,
    /// Maximum number of open connections.
    pub(crate) max_connections: AtomicUsize,
    pub(crate) sources: SourceLimiter,
    pub(crate) budget: Arc<DescriptorBudget>,
    /// Number of workers that cannot accept because no descriptors are left.
    pub(crate) starved: AtomicUsize,
    /// Number of workers that have stopped accepting.
    pub(crate) stopped: AtomicUsize,
    /// Number of workers that have reported since the supervisor last asked.
    pub(crate) alive: AtomicUsize,
    /// Wakes the supervisor.
    pub(crate) supervisor: Arc<Waker>,
}

impl SharedState {
    /// Creates the state. `max_connections`: maximum number of open connections.
    pub(crate) fn new(max_connections: usize, workers: usize, supervisor: Arc<Waker>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            max_connections: AtomicUsize::new(max_connections),
            sources: SourceLimiter::default(),
            budget: Arc::default(),
            starved: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
            // The first check finds all workers alive.
            alive: AtomicUsize::new(workers),
            supervisor,
        }
    }

    /// Returns whether queued connections cannot be accepted because no descriptors are left.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed) > 0
    }

    /// Returns whether the maximum number of connections is open.
    pub(crate) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.max_connections.load(Ordering::Relaxed)
    }
}
