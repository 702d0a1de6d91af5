//! Keys and cookies against the real kernel: what is computed is what the kernel does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod fleet;
mod kernel;
mod support;
