//! A listener, as a worker has it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tfo_core::socket::FastOpenListener;

use crate::connection::listener::ListenerContext;

/// The first listener's token. Those of connections are below: twice the index is the client's socket.
pub(super) const LISTENERS: usize = usize::MAX / 2;
/// How many connections are accepted before the first of them is served.
pub(super) const ACCEPT_BATCH: usize = 64;
/// How long accepting pauses when the process has no descriptors left, or connections enough.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener of a worker's own.
pub(super) struct WorkerListener {
    pub(super) listener: Arc<FastOpenListener>,
    pub(super) context: Rc<ListenerContext>,
    /// Its accept queue may hold connections.
    pub(super) ready: bool,
    /// No new connection can come: it closes once its queue is empty.
    pub(super) closing: bool,
}
