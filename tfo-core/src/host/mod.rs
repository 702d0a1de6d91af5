//! What this host (this network namespace) allows and has seen.
//!
//! Everything is read for the network namespace of the calling thread.

mod capability;
pub mod cookie_cache;
mod listeners;
pub(crate) mod netlink;
mod netstat;
pub mod readiness;
pub mod sysctl;

pub use capability::Capability;
pub use listeners::{Listener, listeners};
pub use netstat::{CounterChange, Counters};
pub use sysctl::FastOpenBits;
