//! Quantiles, and their intervals by order statistics: whatever the distribution looks like.

use super::binomial::{Binomial, TAIL, real};

/// A sample in ascending order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sorted(Vec<f64>);

/// A quantile of a sample, and the interval that holds the true one with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantile {
    pub(crate) value: f64,
    /// `None`: so small a sample says nothing to this side.
    pub(crate) low: Option<f64>,
    /// As [`low`](Self::low).
    pub(crate) high: Option<f64>,
}

impl Sorted {
    /// Of values that are all numbers.
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

    /// The middle value, or the mean of the two that are in the middle.
    pub(crate) fn median(&self) -> Option<f64> {
        self.value(0.5)
    }

    /// The quantile of a probability between 0 and 1; `None` of nothing.
    pub(crate) fn quantile(&self, probability: f64) -> Option<Quantile> {
        let value = self.value(probability)?;
        let (low, high) = ranks(self.len(), probability);
        let at = |rank: usize| self.0.get(rank - 1).copied();
        Some(Quantile { value, low: low.and_then(at), high: high.and_then(at) })
    }

    /// The inverse of the empirical distribution, the mean of both where it jumps (type 2 of
    /// Hyndman and Fan, 1996).
    pub(super) fn value(&self, probability: f64) -> Option<f64> {
        let at = real(self.len()) * probability;
        // A product such as 10 × 0.9 may miss its integer by a hair.
        let whole = at.round();
        let jump = (at - whole).abs() < 1e-9;
        let rank = index(if jump { whole } else { at.ceil() });
        let upper = if jump { rank + 1 } else { rank };
        let last = self.len().checked_sub(1)?;
        let at = |rank: usize| self.0.get(rank.saturating_sub(1).min(last)).copied();
        Some(f64::midpoint(at(rank)?, at(upper)?))
    }
}

/// The ranks, from 1, of the values between which the quantile lies: at most 2.5 % are left to either
/// side. `None`: no value of the sample bounds it.
///
/// The number of values below the quantile is binomial; so the chance that the value of rank r lies above
/// it is that of fewer than r successes (David and Nagaraja, Order Statistics, 7.1).
pub(super) fn ranks(n: usize, probability: f64) -> (Option<usize>, Option<usize>) {
    let below = Binomial::new(n, probability);
    let low = (1..=n).take_while(|rank| below.below(*rank) <= TAIL).last();
    let high = (1..=n).rev().take_while(|rank| below.from(*rank) <= TAIL).last();
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
