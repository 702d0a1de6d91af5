//! What a session sends.

use std::sync::Arc;

/// What is to be sent: `bytes`, then `shared`.
#[derive(Debug, Default)]
pub(crate) struct SessionOutput {
    /// The worker's own, so that an answer costs no allocation.
    pub(crate) bytes: Vec<u8>,
    /// What many connections are sent.
    pub(crate) shared: Option<Arc<[u8]>>,
}

impl SessionOutput {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.shared = None;
    }
}
