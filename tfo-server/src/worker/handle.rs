//! The supervisor's handle to a worker.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::Worker;
use super::command::{CommandQueue, WorkerCommand};
use super::shared::SharedState;

/// The thread and the command queue of a worker.
pub(crate) struct WorkerHandle {
    commands: Arc<CommandQueue>,
    thread: JoinHandle<io::Result<()>>,
}

impl WorkerHandle {
    /// Starts a thread, creates the worker on it with `make`, and waits until the worker accepts commands.
    pub(crate) fn start(
        name: String,
        shared: &Arc<SharedState>,
        make: impl FnOnce(Arc<SharedState>) -> io::Result<Worker> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::clone(shared);
        let (commands, ready) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let worker = make(Arc::clone(&shared))?;
            let _ = commands.send(worker.commands());
            let served = worker.run();
            shared.supervisor.wake()?;
            served
        })?;
        match ready.recv() {
            Ok(commands) => Ok(Self { commands, thread }),
            Err(_) => match thread.join() {
                Ok(Err(e)) => Err(e),
                _ => Err(io::Error::other("a worker failed to start")),
            },
        }
    }

    pub(crate) fn send(&self, command: WorkerCommand) -> io::Result<()> {
        self.commands.put_all([command])
    }

    /// Sends several commands, and wakes the worker once.
    pub(crate) fn send_all(
        &self,
        commands: impl IntoIterator<Item = WorkerCommand>,
    ) -> io::Result<()> {
        self.commands.put_all(commands)
    }

    /// Returns whether the thread has ended. Without a command to stop, it ends only by an error.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread to end, and returns the error that ended the worker.
    pub(crate) fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
    }
}
