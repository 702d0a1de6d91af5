//! The built program in trouble: bad clients, bad times, bad settings, on hosts of its own.
//!
//! What the kernel has acknowledged of a request must be answered: the clients compare, and count.

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
