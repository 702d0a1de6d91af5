//! The adapters for tokio, hyper and axum against the real kernel, on a path with a delay.
//!
//! Evidence is what the server's kernel saved of each SYN as it arrived, never only that an answer came.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod cancelled;
mod grpc;
mod http;
mod memory;
#[path = "../support/mod.rs"]
mod shared;
mod stream;
mod support;
mod tls;
