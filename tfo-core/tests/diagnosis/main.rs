//! The rules against the decision table: each scenario file holds rows of it.

mod invariants;
mod scenario;
mod summary;
mod table;
