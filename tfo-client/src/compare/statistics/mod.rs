//! Statistics of measured times, in any unit. Intervals are exact where possible.
//!
//! - [`binomial`]: the distribution that the exact intervals are based on.
//! - [`quantile`]: quantiles of a sample, with their intervals by order statistics.
//! - [`share`]: proportions, with their intervals by Clopper and Pearson.
//! - [`bootstrap`]: intervals of all other statistics, by resampling.

mod binomial;
mod bootstrap;
mod quantile;
mod share;
#[cfg(test)]
mod tests;

pub(crate) use bootstrap::{Estimate, Resampling, WeightedMedian};
pub(crate) use quantile::{Quantile, Sorted};
pub(crate) use share::Share;
