//! The rules against the decision table: each scenario file holds rows of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod invariants;
mod scenario;
mod summary;
mod table;
