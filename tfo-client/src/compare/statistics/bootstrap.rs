//! Confidence intervals by bootstrap: resampling with replacement (Efron, 1979; the percentile method).

use super::binomial::TAIL;
use super::quantile::Sorted;

/// A value with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// Returns whether zero is outside of the interval.
    pub(crate) fn differs_from_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The parameters of the bootstrap. The seed is fixed, so that the same sample always has the same interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resampling {
    /// The number of draws.
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { rounds: 2000, seed: 0x7413 }
    }
}

impl Resampling {
    /// Estimates several statistics of `units` independent units at once.
    ///
    /// `statistics` receives the number of times that each unit was drawn. A statistic that is `None` for the
    /// original sample, or for most of the draws, has no estimate.
    pub(crate) fn estimates<const N: usize>(
        self,
        units: usize,
        statistics: impl Fn(&[u32]) -> [Option<f64>; N],
    ) -> [Option<Estimate>; N] {
        let values = statistics(&vec![1; units]);
        let mut drawn: [Vec<f64>; N] = [const { Vec::new() }; N];
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut counts = vec![0; units];
        for _ in 0..self.rounds {
            counts.fill(0);
            for _ in 0..units {
                if let Some(count) = counts.get_mut(random.usize(..units)) {
                    *count += 1;
                }
            }
            for (all, value) in drawn.iter_mut().zip(statistics(&counts)) {
                all.extend(value);
            }
        }
        let mut values = values.into_iter();
        drawn.map(|drawn| {
            let value = values.next().flatten()?;
            if drawn.len() * 2 < self.rounds {
                return None;
            }
            let (low, high) = percentiles(drawn)?;
            Some(Estimate { value, low, high })
        })
    }
}

fn percentiles(drawn: Vec<f64>) -> Option<(f64, f64)> {
    let drawn = Sorted::new(drawn);
    Some((drawn.value(TAIL)?, drawn.value(1.0 - TAIL)?))
}

/// Computes medians of a sample in which each value is counted a number of times.
#[derive(Debug)]
pub(crate) struct WeightedMedian {
    /// Each value with its unit, in ascending order.
    ascending: Vec<(f64, usize)>,
}

impl WeightedMedian {
    /// Takes the value of each unit; `None` for a unit without a value.
    pub(crate) fn new(values: impl IntoIterator<Item = Option<f64>>) -> Self {
        let numbered = values.into_iter().enumerate();
        let mut ascending: Vec<(f64, usize)> =
            numbered.filter_map(|(unit, value)| Some((value?, unit))).collect();
        ascending.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        Self { ascending }
    }

    /// Returns the median, where each unit is counted `counts` times.
    pub(crate) fn median(&self, counts: &[u32]) -> Option<f64> {
        let count = |unit: usize| u64::from(counts.get(unit).copied().unwrap_or(0));
        let total: u64 = self.ascending.iter().map(|(_, unit)| count(*unit)).sum();
        let (mut passed, mut lower) = (0, None);
        for (value, unit) in &self.ascending {
            passed += count(*unit);
            if passed * 2 > total {
                return Some(f64::midpoint(lower.unwrap_or(*value), *value));
            }
            // Exactly half of the values are passed: this one and the next are the two in the middle.
            if passed * 2 == total && passed > 0 && lower.is_none() {
                lower = Some(*value);
            }
        }
        None
    }
}
