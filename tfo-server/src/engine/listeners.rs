//! Binds the listeners: for each worker a socket of its own, so that the kernel divides the connections
//! and no worker waits for another.

use std::net::SocketAddr;
use std::sync::Arc;

use tfo_core::observer::ServerObserver;
use tfo_core::socket::FastOpenListener;

use crate::config::ListenSettings;
use crate::keys::Keys;
use crate::service::Prepared;

/// A listener's sockets, one for each worker.
pub(super) struct Bound {
    /// What the workers know it by.
    pub(super) number: usize,
    pub(super) address: SocketAddr,
    pub(super) service: Prepared,
    pub(super) sockets: Vec<Arc<FastOpenListener>>,
}

impl Bound {
    pub(super) fn new(
        number: usize,
        settings: &ListenSettings,
        service: Prepared,
        keys: &Keys,
        workers: usize,
    ) -> tfo_core::Result<Self> {
        let builder = FastOpenListener::builder(settings.address)
            .backlog(settings.backlog)
            .queue(share(settings.fastopen_queue, workers))
            .reuse_port(workers > 1)
            // An answer in several pieces must not wait for the peer's acknowledgment.
            .nodelay(true)
            .nonblocking(true);
        let builder = keys.configure(builder);
        if workers > 1 {
            // Sockets that share a port would share it with another server's too.
            builder.check_free()?;
        }
        let sockets = (0..workers).map(|_| builder.listen().map(Arc::new));
        Ok(Self {
            number,
            address: settings.address,
            service,
            sockets: sockets.collect::<tfo_core::Result<_>>()?,
        })
    }

    /// Changes the queue of the live sockets.
    pub(super) fn set_queue(&self, queue: u32) -> tfo_core::Result<()> {
        let queue = share(queue, self.sockets.len());
        self.sockets.iter().try_for_each(|socket| socket.set_queue(queue))
    }

    /// An observer for each socket; all share what they know of the host.
    pub(super) fn observers(
        &self,
        first: &mut Option<ServerObserver>,
    ) -> impl Iterator<Item = ServerObserver> {
        self.sockets.iter().map(|socket| match first {
            Some(first) => first.beside(socket),
            None => first.insert(ServerObserver::new(socket)).clone(),
        })
    }

    /// The fast open queue and the backlog in force, of all sockets together.
    pub(super) fn queue_and_backlog(&self) -> (u32, u32) {
        let sum = |of: fn(&FastOpenListener) -> tfo_core::Result<u32>| {
            self.sockets.iter().map(|socket| of(socket).unwrap_or(0)).sum()
        };
        (sum(FastOpenListener::effective_queue), sum(FastOpenListener::effective_backlog))
    }
}

/// The kernel divides connections evenly, and so is the queue.
fn share(queue: u32, workers: usize) -> u32 {
    queue.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_divided_and_never_divided_away() {
        assert_eq!(share(256, 2), 128);
        assert_eq!(share(256, 3), 86);
        assert_eq!(share(1, 64), 1);
        assert_eq!(share(0, 64), 0, "0 is off");
    }
}
