//! Keys and cookies with the real kernel: what is computed is what it does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod fleet;
mod kernel;
mod support;
