//! The TCP sockets of this network namespace, of whatever process.
//!
//! | file | what | from |
//! | --- | --- | --- |
//! | `listeners` | sockets that listen, with their fast open queues | `/proc/net/tcp`, `/proc/net/tcp6` |
//! | `accept_queues` | how full their accept queues are, and what they dropped | `inet_diag` |
//! | `connections` | open connections, with their `TCP_INFO` | `inet_diag` |
//! | `owners` | which process holds a socket | `/proc/PID/fd` |
//!
//! Any user may read the first three; the last shows this user's processes alone, unless root asks.

mod accept_queues;
mod connections;
mod listeners;
mod owners;

pub use accept_queues::{AcceptQueue, accept_queues};
pub use connections::{Connection, OPEN, connections, unfinished_handshakes};
pub use listeners::{Listener, listeners};
pub use owners::{Owners, Process, socket_of_inode};
