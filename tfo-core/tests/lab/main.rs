//! The lab: what its path does to packets, that it says so truly, and that the verdicts are right about
//! it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod packets;
mod path;
mod scenario_file;
mod scenarios;
mod stage;
mod support;
