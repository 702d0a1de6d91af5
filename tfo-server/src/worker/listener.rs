//! A listener of one worker.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tfo_core::socket::FastOpenListener;

use crate::connection::listener::ListenerContext;

/// Token of listener 0. Tokens below are those of connections: `2 * index` for the client's socket, `2 * index + 1` for
/// the upstream's.
pub(super) const LISTENERS: usize = usize::MAX / 2;
/// Maximum number of connections accepted before the first of them is served.
pub(super) const ACCEPT_BATCH: usize = 64;
/// How long accepting pauses if the process has no descriptor left, or has reached its connection limit.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and its state in this worker.
pub(super) struct WorkerListener {
    pub(super) listener: Arc<FastOpenListener>,
    pub(super) context: Rc<ListenerContext>,
    /// The accept queue may hold connections.
    pub(super) ready: bool,
    /// No new connections arrive: the listener closes once its queue is empty.
    pub(super) closing: bool,
}
