//! What this host (this network namespace) allows and has seen.
//!
//! Everything is read for the network namespace of the calling thread.

mod capability;
pub mod connections;
pub mod cookie_cache;
pub mod features;
mod listeners;
pub(crate) mod netlink;
mod netstat;
mod owners;
pub mod readiness;
mod routes;
pub mod surroundings;
pub mod sysctl;
mod thread;

pub use capability::Capability;
pub use connections::{Connection, unfinished_handshakes};
pub use listeners::{Listener, listeners};
pub use netstat::{CounterChange, Counters};
pub use owners::{Owners, Process, socket_of_inode};
pub use routes::{Route, routes_without_cookie};
pub use surroundings::Surroundings;
pub use sysctl::{FastOpenBits, NamespaceKey};
pub use thread::CpuTime;
