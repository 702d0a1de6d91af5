//! True verdicts on real connections: a probe on one host of the lab, a mirror on the other, and
//! between them what a path can do.
//!
//! Each connection is judged by both halves of its evidence, and by each half alone, which must never
//! say more than it can know.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod address;
mod cookie;
mod dialogue;
mod failed;
mod local;
mod peer;
mod probing;
mod stripped;
mod works;

#[path = "../support/mod.rs"]
mod support;
