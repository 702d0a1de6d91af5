//! The output of a session.

use std::sync::Arc;

/// Bytes to send: `bytes`, then `shared`.
#[derive(Debug, Default)]
pub(crate) struct SessionOutput {
    /// Belongs to the worker, so that an answer needs no allocation.
    pub(crate) bytes: Vec<u8>,
    /// A body that many connections send.
    pub(crate) shared: Option<Arc<[u8]>>,
}

impl SessionOutput {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.shared = None;
    }
}
