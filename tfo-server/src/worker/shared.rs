//! What the workers have in common: counters, and a way to wake the main thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::Waker;

use super::source_limiter::SourceLimiter;
use crate::connection::budget::DescriptorBudget;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct SharedState {
    pub(crate) open: AtomicUsize,
    /// The most connections that may be open.
    pub(crate) max_connections: AtomicUsize,
    pub(crate) sources: SourceLimiter,
    pub(crate) budget: Arc<DescriptorBudget>,
    /// Workers that can't accept, for want of descriptors.
    pub(crate) starved: AtomicUsize,
    /// Workers that have stopped accepting.
    pub(crate) stopped: AtomicUsize,
    /// Workers that have reported since the supervisor asked.
    pub(crate) alive: AtomicUsize,
    /// Wakes the supervisor.
    pub(crate) supervisor: Arc<Waker>,
}

impl SharedState {
    /// `max_connections`: how many may be open at once.
    pub(crate) fn new(max_connections: usize, workers: usize, supervisor: Arc<Waker>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            max_connections: AtomicUsize::new(max_connections),
            sources: SourceLimiter::default(),
            budget: Arc::default(),
            starved: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
            // As if each had been asked, and had reported.
            alive: AtomicUsize::new(workers),
            supervisor,
        }
    }

    /// Whether queued connections can't be accepted for want of descriptors.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed) > 0
    }

    /// Whether as many connections are open as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.max_connections.load(Ordering::Relaxed)
    }
}
