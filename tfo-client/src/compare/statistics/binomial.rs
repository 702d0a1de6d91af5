//! The binomial distribution, of the number of samples below a quantile or of the number of hits.

/// The confidence level of the intervals.
const CONFIDENCE: f64 = 0.95;
/// The probability on each side of an interval.
pub(super) const TAIL: f64 = (1.0 - CONFIDENCE) / 2.0;

/// The probabilities of 0 to n successes.
pub(super) struct Binomial {
    probabilities: Vec<f64>,
}

impl Binomial {
    /// Creates the distribution of `n` trials that succeed with probability `chance`.
    pub(super) fn new(n: usize, chance: f64) -> Self {
        if chance <= 0.0 || chance >= 1.0 {
            let certain = if chance <= 0.0 { 0 } else { n };
            let sure = |k| if k == certain { 1.0 } else { 0.0 };
            return Self { probabilities: (0..=n).map(sure).collect() };
        }
        // Starts at the most likely count and multiplies by the ratio of neighbours, so that no weight overflows, and
        // only negligible weights underflow.
        let odds = chance / (1.0 - chance);
        let mode = mode(n, chance);
        let mut weights = vec![0.0; n + 1];
        let mut weight = 1.0;
        for (k, slot) in weights.iter_mut().enumerate().skip(mode) {
            *slot = weight;
            weight *= real(n - k) / real(k + 1) * odds;
        }
        weight = 1.0;
        for (k, slot) in weights.iter_mut().enumerate().take(mode + 1).rev() {
            *slot = weight;
            weight *= real(k) / real(n - k + 1) / odds;
        }
        let whole: f64 = weights.iter().sum();
        Self { probabilities: weights.into_iter().map(|weight| weight / whole).collect() }
    }

    /// Returns the probability of fewer than `k` successes.
    pub(super) fn below(&self, k: usize) -> f64 {
        self.probabilities.iter().take(k).sum()
    }

    /// Returns the probability of `k` or more successes.
    pub(super) fn at_least(&self, k: usize) -> f64 {
        self.probabilities.iter().skip(k).rev().sum()
    }
}

fn mode(n: usize, chance: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to n + 1, and cut to n"
    )]
    let mode = (real(n + 1) * chance) as usize;
    mode.min(n)
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^52")]
pub(super) fn real(count: usize) -> f64 {
    count as f64
}
