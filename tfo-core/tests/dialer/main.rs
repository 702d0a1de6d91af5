//! The dialer against real kernels and the boxes of the lab. Proofs count packets, timeouts and executed messages, never
//! seconds.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod boxes;
mod contract;
mod server;

#[path = "../support/mod.rs"]
mod support;
