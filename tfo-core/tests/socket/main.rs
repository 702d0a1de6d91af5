//! The sockets against the real kernel, on hosts of the lab.
//!
//! The tests assert the evidence, never only that bytes came back: a test that passes without fast open is worth
//! nothing.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod event_loop;
mod exchange;
mod fits;
mod inherited;
mod keys;
mod last;
mod listener;
mod nonblocking;
mod option;
mod signal;
mod stream;
mod trouble;

#[path = "../support/mod.rs"]
mod support;
