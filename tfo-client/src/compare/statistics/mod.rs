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
