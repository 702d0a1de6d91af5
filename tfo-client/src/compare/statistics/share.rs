//! Proportions, and their confidence intervals.

use super::binomial::{Binomial, TAIL, real};

/// A proportion with its exact (Clopper-Pearson) 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    pub(crate) count: usize,
    pub(crate) total: usize,
    /// The lower bound, from 0 to 1.
    pub(crate) low: f64,
    /// The upper bound, from 0 to 1.
    pub(crate) high: f64,
}

impl Share {
    pub(crate) fn new(count: usize, total: usize) -> Self {
        let low = if count == 0 {
            0.0
        } else {
            bisect(|chance| Binomial::new(total, chance).at_least(count) < TAIL)
        };
        let high = if count >= total {
            1.0
        } else {
            bisect(|chance| Binomial::new(total, chance).below(count + 1) > TAIL)
        };
        Self { count, total, low, high }
    }

    /// Returns the proportion, from 0 to 1; 0 if the total is 0.
    pub(crate) fn value(&self) -> f64 {
        if self.total == 0 { 0.0 } else { real(self.count) / real(self.total) }
    }
}

/// Finds the value between 0 and 1 at which a condition that holds at 0 ceases to hold.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}
