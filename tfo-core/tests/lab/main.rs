//! The lab's path: what it does to packets, and that it says so truly.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod path;
mod support;
