//! Quantiles, and their confidence intervals by order statistics, which hold for any distribution.

use super::binomial::{Binomial, TAIL, real};

/// A sample in ascending order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sorted(Vec<f64>);

/// A quantile of a sample, with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantile {
    pub(crate) value: f64,
    /// The lower bound; `None` if the sample is too small for one.
    pub(crate) low: Option<f64>,
    /// The upper bound; `None` if the sample is too small for one.
    pub(crate) high: Option<f64>,
}

impl Sorted {
    /// Sorts values, none of which may be NaN.
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    /// Returns the middle value, or the mean of the two in the middle; `None` for an empty sample.
    pub(crate) fn median(&self) -> Option<f64> {
        self.value(0.5)
    }

    /// Returns the quantile of a probability between 0 and 1; `None` for an empty sample.
    pub(crate) fn quantile(&self, probability: f64) -> Option<Quantile> {
        let value = self.value(probability)?;
        let (low, high) = ranks(self.len(), probability);
        let at = |rank: usize| self.0.get(rank - 1).copied();
        Some(Quantile { value, low: low.and_then(at), high: high.and_then(at) })
    }

    /// Returns the inverse of the empirical distribution function, averaged at discontinuities (type 2 of Hyndman
    /// and Fan, 1996).
    pub(super) fn value(&self, probability: f64) -> Option<f64> {
        let at = real(self.len()) * probability;
        // A product such as 10 × 0.9 may differ from its integer by a rounding error.
        let whole = at.round();
        let jump = (at - whole).abs() < 1e-9;
        let rank = index(if jump { whole } else { at.ceil() });
        let upper = if jump { rank + 1 } else { rank };
        let last = self.len().checked_sub(1)?;
        let at = |rank: usize| self.0.get(rank.saturating_sub(1).min(last)).copied();
        Some(f64::midpoint(at(rank)?, at(upper)?))
    }
}

/// Returns the ranks, from 1, of the values that bound the quantile, with at most 2.5 % probability on each side.
/// `None`: no value of the sample is a bound.
///
/// The number of values below the quantile has a binomial distribution. The value of rank r is therefore above the
/// quantile with the probability of fewer than r successes (David and Nagaraja, Order Statistics, 7.1).
pub(super) fn ranks(n: usize, probability: f64) -> (Option<usize>, Option<usize>) {
    let below = Binomial::new(n, probability);
    let low = (1..=n).take_while(|rank| below.below(*rank) <= TAIL).last();
    let high = (1..=n).rev().take_while(|rank| below.at_least(*rank) <= TAIL).last();
    (low, high)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank: a whole number from 0 to the sample's size"
)]
fn index(rank: f64) -> usize {
    rank as usize
}
