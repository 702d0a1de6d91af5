//! `tfo-client doctor` on hosts that are set up with the states to be found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[cfg(test)]
mod connections;
#[cfg(test)]
mod counters;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod output;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod settings;
