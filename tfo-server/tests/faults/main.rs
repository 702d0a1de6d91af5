//! The built program under faults: bad clients, bad timing and bad settings, in network namespaces.
//!
//! Every request that the kernel has acknowledged must be answered: the clients compare and count.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod blocked;
mod cut;
mod drain;
mod end;
mod flood;
mod load;
mod markers;
mod output;
mod reload;
mod resets;
mod rights;
mod slow;
mod soak;
mod start;
mod supervised;
#[path = "../support/mod.rs"]
mod support;
