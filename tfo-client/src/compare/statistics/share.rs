//! A share of a whole, and how sure it is.

use super::binomial::{Binomial, TAIL, real};

/// So many of so many, with the interval of Clopper and Pearson (1934): never too narrow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    pub(crate) count: usize,
    pub(crate) total: usize,
    /// From 0 to 1.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Share {
    pub(crate) fn new(count: usize, total: usize) -> Self {
        let low = if count == 0 {
            0.0
        } else {
            bisect(|chance| Binomial::new(total, chance).from(count) < TAIL)
        };
        let high = if count >= total {
            1.0
        } else {
            bisect(|chance| Binomial::new(total, chance).below(count + 1) > TAIL)
        };
        Self { count, total, low, high }
    }

    /// From 0 to 1; 0 of nothing.
    pub(crate) fn value(&self) -> f64 {
        if self.total == 0 { 0.0 } else { real(self.count) / real(self.total) }
    }
}

/// Where a condition that holds at 0 ceases to hold.
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
