//! The statistics that the bootstrap estimates: what connections with fast open save and lose.

use crate::compare::sample::{Metric, Sample, Side, millis};
use crate::compare::statistics::WeightedMedian;

/// A pair of connections, the unit that the bootstrap draws.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pair {
    /// The time of the connection with fast open, if its verdict is that of its side.
    pub(super) fast: Option<f64>,
    /// The time of the regular connection, if its verdict is that of its side.
    pub(super) regular: Option<f64>,
    /// The connection with fast open, if it missed.
    pub(super) miss: Option<Delay>,
    /// The regular connection, if it failed or had a retransmission.
    pub(super) lossy: Option<Delay>,
    /// The time of the connection with fast open, if it did not miss and had a retransmission.
    pub(super) lossy_fast: Option<f64>,
}

/// A connection that was delayed, or failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delay {
    /// The time until its answer arrived, or until it failed.
    pub(super) time: f64,
    pub(super) failed: bool,
}

impl Delay {
    pub(super) fn from_sample(sample: &Sample, metric: Metric) -> Self {
        match sample.time(metric) {
            Some(time) => Self { time, failed: false },
            None => Self { time: millis(sample.ended), failed: true },
        }
    }

    /// Returns the cost, compared with a regular connection that takes `regular`. After a failure, the program has to
    /// make a regular connection as well.
    pub(super) fn cost(self, regular: f64) -> f64 {
        if self.failed { self.time } else { self.time - regular }
    }
}

/// Groups samples into pairs.
pub(super) fn pairs(samples: &[Sample], metric: Metric, both_regular: bool) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for both in samples.chunk_by(|one, other| one.pair == other.pair) {
        let mut pair = Pair::default();
        for sample in both {
            let time = sample.time(metric);
            let proper = sample.is_proper(both_regular) && time.is_some();
            let delay = Some(Delay::from_sample(sample, metric));
            match (sample.side, proper) {
                (Side::FastOpen, true) => {
                    pair.fast = time;
                    pair.lossy_fast = time.filter(|_| sample.lossy);
                }
                (Side::FastOpen, false) => pair.miss = delay,
                (Side::Regular, true) => {
                    pair.regular = time;
                    pair.lossy = delay.filter(|_| sample.lossy);
                }
                (Side::Regular, false) => pair.lossy = delay,
            }
        }
        pairs.push(pair);
    }
    pairs
}

/// The statistics of pairs. In all methods, `counts` is the number of times that each pair was drawn.
pub(super) struct Costs<'a> {
    pairs: &'a [Pair],
    fast: WeightedMedian,
    regular: WeightedMedian,
    /// The regular connections of the first and the second half of the pairs.
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

    /// Returns the difference of the medians.
    pub(super) fn saved(&self, counts: &[u32]) -> Option<f64> {
        Some(self.regular.median(counts)? - self.fast.median(counts)?)
    }

    /// Returns the difference between the regular medians of the second and the first half.
    pub(super) fn drift(&self, counts: &[u32]) -> Option<f64> {
        let [first, second] = &self.halves;
        Some(second.median(counts)? - first.median(counts)?)
    }

    /// Returns the mean gain of an attempt to use fast open.
    pub(super) fn net(&self, counts: &[u32]) -> Option<f64> {
        let (hits, lost) = self.attempts(counts)?;
        let saved = if hits > 0.0 { self.saved(counts)? } else { 0.0 };
        Some(hits * saved - lost + self.ordinary_loss(counts)?)
    }

    /// Returns the hit rate, and the mean loss of an attempt.
    fn attempts(&self, counts: &[u32]) -> Option<(f64, f64)> {
        let regular = self.regular.median(counts)?;
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

    /// Returns the part of the mean loss that is not attributed to fast open: the mean loss of regular connections
    /// minus that of connections which used fast open, and at most the whole loss.
    pub(super) fn ordinary_loss(&self, counts: &[u32]) -> Option<f64> {
        let (_, per_attempt) = self.attempts(counts)?;
        let regular = self.regular.median(counts)?;
        let fast = self.fast.median(counts).unwrap_or_default();
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
        Some((mean(0) - mean(1)).clamp(0.0, per_attempt.max(0.0)))
    }

    /// Returns each pair with the number of times that it was drawn.
    fn counted(&self, counts: &[u32]) -> impl Iterator<Item = (&Pair, f64)> {
        self.pairs.iter().zip(counts.iter().map(|count| f64::from(*count)))
    }
}
