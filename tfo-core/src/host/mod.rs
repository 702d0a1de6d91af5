//! What this host (this network namespace) allows and has seen.

mod cookie_cache;
mod listeners;
mod netstat;
mod sysctl;

pub use netstat::{CounterChange, Counters};
pub use sysctl::FastOpenBits;
