//! Statistics of measured times: exact where they can be, and of no particular unit.
//!
//! - [`binomial`]: the distribution that the exact intervals rest on.
//! - [`quantile`]: a quantile of a sample, and its interval by order statistics.
//! - [`share`]: a share of a whole, and its interval (Clopper and Pearson).
//! - [`bootstrap`]: intervals of anything else, by drawing the sample again.

mod binomial;
mod bootstrap;
mod quantile;
mod share;
#[cfg(test)]
mod tests;

pub(crate) use bootstrap::{Estimate, Resampling, WeightedMedian};
pub(crate) use quantile::{Quantile, Sorted};
pub(crate) use share::Share;

/// How sure an interval is meant to be to hold the true value.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// What is left to either side of an interval.
const TAIL: f64 = (1.0 - CONFIDENCE) / 2.0;
