//! Commands from the supervisor to a worker.

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mio::Waker;
use tfo_core::socket::FastOpenListener;

use crate::close_reason::CloseKind;
use crate::connection::listener::ListenerContext;

pub(crate) enum WorkerCommand {
    /// Accept from this listener. If the number is in use, only replace its context.
    Listen { number: usize, listener: Arc<FastOpenListener>, context: Box<ListenerContext> },
    /// Serve the connections that are queued at this listener, and close it.
    CloseListener { number: usize },
    /// Stop once all connections and listeners are closed, or at this time.
    Drain { until: Instant },
    /// Report that the worker is alive.
    ReportAlive,
    /// Close all connections for this reason, and stop.
    Stop(CloseKind),
}

/// The commands of a worker, and its waker.
pub(crate) struct CommandQueue {
    commands: Mutex<Vec<WorkerCommand>>,
    waker: Waker,
}

impl CommandQueue {
    pub(super) fn new(waker: Waker) -> Self {
        Self { commands: Mutex::default(), waker }
    }

    /// Adds commands, and wakes the worker once.
    pub(super) fn put_all(
        &self,
        commands: impl IntoIterator<Item = WorkerCommand>,
    ) -> io::Result<()> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).extend(commands);
        self.waker.wake()
    }

    /// Removes and returns all commands.
    pub(super) fn take(&self) -> Vec<WorkerCommand> {
        mem::take(&mut self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
