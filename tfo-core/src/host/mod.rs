//! What this host (this network namespace) allows and has seen.
//!
//! Everything is read for the network namespace of the calling thread.

mod capability;
pub mod cookie_cache;
mod counters;
pub mod environment;
pub mod features;
mod listen_counters;
pub(crate) mod netlink;
pub mod readiness;
mod routes;
pub mod sockets;
pub mod sysctl;
mod thread;

pub use capability::Capability;
pub use counters::{CounterChange, Counters};
pub use environment::{Containment, RuntimeEnvironment};
pub use listen_counters::ListenCounters;
pub use routes::{Route, routes_without_cookie};
pub use sockets::{
    AcceptQueue, Connection, Listener, Owners, Process, accept_queues, listeners,
    unfinished_handshakes,
};
pub use sysctl::{FastOpenFlags, NamespaceKey};
pub use thread::CpuTime;
