//! What pairs of connections save and lose, each counted so often: what the bootstrap draws.

use crate::compare::sample::{Metric, Sample, Side, millis};
use crate::compare::statistics::WeightedMedian;

/// A pair as the bootstrap draws it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pair {
    /// The time of a proper connection.
    pub(super) fast: Option<f64>,
    pub(super) regular: Option<f64>,
    pub(super) miss: Option<Setback>,
    /// A regular connection that failed, or on which something was lost.
    pub(super) lossy: Option<Setback>,
    /// The time of a proper connection with fast open on which something was lost.
    pub(super) lossy_fast: Option<f64>,
}

/// A connection that did not go as it should.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setback {
    /// Until its answer came, or until it failed.
    pub(super) time: f64,
    pub(super) failed: bool,
}

impl Setback {
    pub(super) fn of(sample: &Sample, metric: Metric) -> Self {
        match sample.time(metric) {
            Some(time) => Self { time, failed: false },
            None => Self { time: millis(sample.ended), failed: true },
        }
    }

    /// What it cost where a regular connection takes so long. After a failure the program has to make one.
    pub(super) fn cost(self, regular: f64) -> f64 {
        if self.failed { self.time } else { self.time - regular }
    }
}

/// The pairs of samples, in their order.
pub(super) fn pairs(samples: &[Sample], metric: Metric, both_regular: bool) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for both in samples.chunk_by(|one, other| one.pair == other.pair) {
        let mut pair = Pair::default();
        for sample in both {
            let time = sample.time(metric);
            let proper = sample.is_proper(both_regular) && time.is_some();
            let setback = Some(Setback::of(sample, metric));
            match (sample.side, proper) {
                (Side::FastOpen, true) => {
                    pair.fast = time;
                    pair.lossy_fast = time.filter(|_| sample.lossy);
                }
                (Side::FastOpen, false) => pair.miss = setback,
                (Side::Regular, true) => {
                    pair.regular = time;
                    pair.lossy = setback.filter(|_| sample.lossy);
                }
                (Side::Regular, false) => pair.lossy = setback,
            }
        }
        pairs.push(pair);
    }
    pairs
}

/// What the bootstrap estimates of the pairs.
pub(super) struct Costs<'a> {
    pairs: &'a [Pair],
    fast: WeightedMedian,
    regular: WeightedMedian,
    /// The regular connections of the first half of the pairs, and of the second.
    halves: [WeightedMedian; 2],
}

impl<'a> Costs<'a> {
    pub(super) fn new(pairs: &'a [Pair]) -> Self {
        let half = pairs.len() / 2;
        let numbered = || pairs.iter().map(|pair| pair.regular).enumerate();
        Self {
            pairs,
            fast: WeightedMedian::new(pairs.iter().map(|pair| pair.fast)),
            regular: WeightedMedian::new(pairs.iter().map(|pair| pair.regular)),
            halves: [
                WeightedMedian::new(numbered().map(|(at, time)| time.filter(|_| at < half))),
                WeightedMedian::new(numbered().map(|(at, time)| time.filter(|_| at >= half))),
            ],
        }
    }

    pub(super) fn saved(&self, counts: &[u32]) -> Option<f64> {
        Some(self.regular.of(counts)? - self.fast.of(counts)?)
    }

    pub(super) fn drift(&self, counts: &[u32]) -> Option<f64> {
        let [first, second] = &self.halves;
        Some(second.of(counts)? - first.of(counts)?)
    }

    pub(super) fn net(&self, counts: &[u32]) -> Option<f64> {
        let (hits, lost) = self.attempts(counts)?;
        let saved = if hits > 0.0 { self.saved(counts)? } else { 0.0 };
        Some(hits * saved - lost + self.ordinary_loss(counts)?)
    }

    /// The share of the attempts that were hits, and what an attempt lost on average.
    fn attempts(&self, counts: &[u32]) -> Option<(f64, f64)> {
        let regular = self.regular.of(counts)?;
        let (mut attempts, mut hits, mut lost) = (0.0, 0.0, 0.0);
        for (pair, count) in self.counted(counts) {
            if pair.fast.is_some() {
                hits += count;
                attempts += count;
            } else if let Some(miss) = pair.miss {
                lost += miss.cost(regular) * count;
                attempts += count;
            }
        }
        (attempts > 0.0).then(|| (hits / attempts, lost / attempts))
    }

    /// What of the loss is not to be charged to fast open: as much as strikes regular connections beyond
    /// those that used fast open, and no more than there is.
    pub(super) fn ordinary_loss(&self, counts: &[u32]) -> Option<f64> {
        let (_, charged) = self.attempts(counts)?;
        let regular = self.regular.of(counts)?;
        let fast = self.fast.of(counts).unwrap_or_default();
        let (mut all, mut lost) = ([0.0; 2], [0.0; 2]);
        for (pair, count) in self.counted(counts) {
            if pair.regular.is_some() || pair.lossy.is_some() {
                all[0] += count;
                lost[0] += pair.lossy.map_or(0.0, |lossy| lossy.cost(regular)) * count;
            }
            if pair.fast.is_some() || pair.miss.is_some() {
                all[1] += count;
                lost[1] += pair.lossy_fast.map_or(0.0, |time| time - fast) * count;
            }
        }
        let mean = |side: usize| if all[side] > 0.0 { lost[side] / all[side] } else { 0.0 };
        Some((mean(0) - mean(1)).clamp(0.0, charged.max(0.0)))
    }

    fn counted(&self, counts: &[u32]) -> impl Iterator<Item = (&Pair, f64)> {
        self.pairs.iter().zip(counts.iter().map(|count| f64::from(*count)))
    }
}
