//! Configuration and command line of the built program, from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[cfg(test)]
mod generate;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod help;
#[cfg(test)]
mod precedence;
#[cfg(test)]
mod refusal;
