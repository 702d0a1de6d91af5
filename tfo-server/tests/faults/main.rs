//! The built program in trouble: bad clients, bad times, bad settings, on hosts of its own.
//!
//! What the kernel has acknowledged of a request must be answered: the clients compare, and count.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[cfg(test)]
mod blocked;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod end;
#[cfg(test)]
mod flood;
#[cfg(test)]
#[path = "../serve/harness.rs"]
#[allow(dead_code, reason = "what the tests of serving need too")]
mod harness;
#[cfg(test)]
mod load;
#[cfg(test)]
mod markers;
#[cfg(test)]
mod output;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod resets;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod start;
#[cfg(test)]
mod supervised;
