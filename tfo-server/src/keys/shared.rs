//! The keys in force, as other threads see them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tfo_core::cookie::KeyRing;

/// Where the keys are put for other threads.
#[derive(Debug, Default)]
pub(super) struct SharedRing {
    /// Counts the changes.
    changes: AtomicU64,
    ring: Mutex<Option<KeyRing>>,
}

impl SharedRing {
    pub(super) fn put(&self, ring: Option<KeyRing>) {
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = ring;
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// A thread's own copy of the keys, made again when they have changed: looking costs one load.
#[derive(Debug)]
pub(crate) struct KeyView {
    shared: Arc<SharedRing>,
    seen: u64,
    ring: Option<KeyRing>,
}

impl KeyView {
    pub(super) fn new(shared: Arc<SharedRing>) -> Self {
        Self { shared, seen: 0, ring: None }
    }

    /// All keys that are known now.
    pub(crate) fn ring(&mut self) -> Option<&KeyRing> {
        let changes = self.shared.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.seen = changes;
            let ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
            self.ring.clone_from(&ring);
        }
        self.ring.as_ref()
    }
}
