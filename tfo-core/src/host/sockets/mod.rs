//! The TCP sockets of this network namespace, of any process.
//!
//! | file | what | from |
//! | --- | --- | --- |
//! | `listeners` | sockets that listen, with their fast open queues | `/proc/net/tcp`, `/proc/net/tcp6` |
//! | `accept_queues` | how full their accept queues are, and what they dropped | `inet_diag` |
//! | `connections` | open connections, with their `TCP_INFO` | `inet_diag` |
//! | `owners` | which process holds a socket | `/proc/PID/fd` |
//!
//! Any user may read the first three. The last shows only this user's processes, unless root asks.

mod accept_queues;
mod connections;
mod listeners;
mod owners;

pub use accept_queues::AcceptQueue;
pub(crate) use accept_queues::accept_queues;
pub use connections::{Connection, OPEN, connections, unfinished_handshakes};
pub(crate) use listeners::fast_open_listeners;
pub use listeners::{Listener, listeners};
pub use owners::{Owners, Process, socket_of_inode};
