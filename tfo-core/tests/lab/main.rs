//! The lab: what its path does to packets, that its record is true, and that the verdicts about it are right.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "what a test in its namespace saw, and its figures")]

mod end;
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod packets;
mod path;
mod scenario_file;
mod scenarios;
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod service;
mod stage;
mod support;
