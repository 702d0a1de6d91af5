//! The rules against the decision table: each scenario file holds rows of it.

#![allow(clippy::expect_used, reason = "a broken scenario file ends the test")]

mod balance;
mod invariants;
mod readme;
mod rules;
mod scenario;
mod summary;
mod table;
