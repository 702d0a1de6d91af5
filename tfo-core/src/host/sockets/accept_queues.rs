//! `inet_diag`: the length of each listener's accept queue, and the number of SYNs and ACKs that the listener dropped.

use std::net::SocketAddr;

use super::connections::{dump, socket};
use crate::socket::TcpState;
use crate::uapi::inet_diag as uapi;
use crate::wire::bytes::array_at;
use crate::wire::netlink::Message;
use crate::{Error, Result};

/// The accept queue of a listener of this network namespace, in any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AcceptQueue {
    /// The address of the listener.
    pub address: SocketAddr,
    /// The user that created the listener.
    pub uid: u32,
    /// The listener's inode, as in [`Listener`](super::Listener).
    pub inode: u64,
    /// Number of connections that wait to be accepted.
    pub waiting: u32,
    /// The effective backlog: the queue is full once more connections than this wait.
    pub limit: u32,
    /// Number of SYNs and final ACKs that this listener has dropped, mostly because a queue was full.
    pub drops: u32,
}

impl AcceptQueue {
    /// Returns whether the kernel drops the next handshake.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.waiting > self.limit
    }
}

/// Returns the accept queues of the listeners of the calling thread's network namespace, IPv4 first.
///
/// # Errors
/// [`Error::System`] if the kernel refuses, as one without `tcp_diag` does;
/// [`Error::Malformed`] if its answer can't be understood.
pub(crate) fn accept_queues() -> Result<Vec<AcceptQueue>> {
    let mut found = Vec::new();
    dump(&[TcpState::Listen], uapi::INET_DIAG_SKMEMINFO, |message| {
        found.push(parse(message)?);
        Ok(())
    })?;
    Ok(found)
}

fn parse(message: &Message<'_>) -> Result<AcceptQueue> {
    let listener = socket(message)?;
    let number = |bytes: &[u8], offset| array_at(bytes, offset).map(u32::from_ne_bytes);
    let queue = |offset| {
        number(message.payload, offset)
            .ok_or_else(|| Error::malformed("inet_diag answer", "it ends within the socket"))
    };
    let mut found = AcceptQueue {
        address: listener.local,
        uid: listener.uid,
        inode: listener.inode,
        waiting: queue(uapi::message::RECEIVE_QUEUE)?,
        limit: queue(uapi::message::SEND_QUEUE)?,
        drops: 0,
    };
    for attribute in message.attributes(uapi::message::SIZE) {
        let attribute = attribute?;
        if attribute.kind == uapi::INET_DIAG_SKMEMINFO {
            // An old kernel does not count them.
            found.drops = number(attribute.value, uapi::SK_MEMINFO_DROPS * 4).unwrap_or(0);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn waiting_connection_is_counted_and_own_listener_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _waiting = TcpStream::connect(address).unwrap();
        let queues = accept_queues().unwrap();
        let queue = queues.iter().find(|queue| queue.address == address).unwrap();
        assert_eq!((queue.waiting, queue.drops), (1, 0), "{queue:?}");
        assert!(queue.limit > 0 && !queue.is_full() && queue.inode > 0, "{queue:?}");
    }

    #[test]
    fn queue_is_full_with_one_more_than_its_limit() {
        let address = ([127, 0, 0, 1], 80).into();
        let queue =
            |waiting| AcceptQueue { address, uid: 0, inode: 1, waiting, limit: 5, drops: 0 };
        assert!(!queue(5).is_full());
        assert!(queue(6).is_full());
    }
}
