//! What a host reports, tested against real hosts of the lab.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod cookie_cache;
mod link;
mod listeners;
mod settings;

#[path = "../support/mod.rs"]
mod support;
