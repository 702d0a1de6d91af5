//! What this host (this network namespace) allows, and what it has counted and cached.
//!
//! All functions read the network namespace of the calling thread.

mod capability;
pub mod cookie_cache;
mod counters;
pub mod environment;
pub mod features;
pub(crate) mod netlink;
pub mod readiness;
mod routes;
pub mod sockets;
pub mod sysctl;
mod thread;

pub use capability::Capability;
pub use counters::{CounterChange, Counters};
pub use environment::{Containment, RuntimeEnvironment};
pub use routes::{Route, routes_without_cookie};
pub(crate) use routes::{TcpRoute, tcp_route};
pub(crate) use sockets::accept_queues;
pub use sockets::{
    AcceptQueue, Connection, Listener, Owners, Process, listeners, unfinished_handshakes,
};
pub use sysctl::{FastOpenFlags, NamespaceKey};
#[doc(hidden)]
pub use thread::CpuTime;
