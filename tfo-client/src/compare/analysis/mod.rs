//! From samples to an answer: what fast open saves here, what it costs when it fails, and whether to
//! turn it on. Pure: no clock, no socket.

mod costs;

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::{Cause, HitRate};

use super::sample::{Metric, Sample, Side, millis};
use crate::compare::statistics::{Estimate, Quantile, Resampling, Share, Sorted};
use costs::{Costs, Setback, pairs};

/// Fewer connections of either side answer nothing.
pub(crate) const LEAST_SAMPLES: usize = 10;
/// So many connections that miss for the same reason are no accident.
const LEAST_ALIKE: usize = 3;
/// A shorter round trip drowns in what the hosts themselves take.
pub(crate) const LEAST_RTT: f64 = 1.0;
/// With a lower hit rate the first thing to do is to find out why.
pub(crate) const LEAST_HIT_RATE: f64 = 0.5;
/// A gain or loss that is less of a round trip is none that anybody would notice.
const LEAST_EFFECT: f64 = 0.02;
/// A loss of this share of a round trip is reason enough to leave it off, whatever helps.
const GRAVE: f64 = 0.25;
/// "No difference" is said when none can be as large as this share of a round trip.
const MOST_LEFT_OPEN: f64 = 0.25;
/// The halves may differ by this share of the regular median.
const MOST_DRIFT: f64 = 0.1;

/// What the samples say. Times are in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Analysis {
    /// The time that the answer rests on.
    pub(crate) metric: Metric,
    /// Both sides are regular connections: a check of the measurement itself.
    pub(crate) both_regular: bool,
    /// The version of TLS.
    pub(crate) tls: Option<&'static str>,
    /// Median of TCP's own round trip times.
    pub(crate) rtt: Option<f64>,
    pub(crate) distributions: Vec<Distribution>,
    /// The hit rate: of the connections that tried fast open and had a cookie, those that used it. Of a
    /// comparison of regular connections: those that came about, of all.
    pub(crate) hit_rate: Share,
    /// The regular connections that came about, of all.
    pub(crate) regular: Share,
    /// What became of the others.
    pub(crate) misses: Vec<Miss>,
    /// The command that shows connections in the lab, in backticks, where that is where they were made.
    pub(crate) lab: Option<String>,
    /// Their times, until the answer or the failure.
    pub(crate) miss_times: Sorted,
    /// Mean cost of a miss, against the regular median.
    pub(crate) lost: Option<f64>,
    /// What of the loss of an attempt is not charged to fast open, because regular connections have it too.
    pub(crate) ordinary_loss: f64,
    /// Hit rate × saved − miss rate × lost, without the ordinary loss.
    pub(crate) net: Option<Estimate>,
    /// How far the second half's median lies above that of the first, where it matters.
    pub(crate) drift: Option<f64>,
    pub(crate) answer: Answer,
}

/// One time, for both sides.
#[derive(Debug, Clone)]
pub(crate) struct Distribution {
    pub(crate) metric: Metric,
    pub(crate) fast: Summary,
    pub(crate) regular: Summary,
    /// The difference of the medians, of the proper connections of each side.
    pub(crate) saved: Option<Estimate>,
}

#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) sorted: Sorted,
    pub(crate) median: Option<Quantile>,
    pub(crate) p90: Option<Quantile>,
    pub(crate) p99: Option<Quantile>,
}

/// Connections that were to use fast open, and ended in another way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Miss {
    /// The cause, or else the verdict.
    pub(crate) word: &'static str,
    pub(crate) cause: Option<Cause>,
    pub(crate) count: usize,
    /// They failed: the program has to connect again.
    pub(crate) failed: bool,
    /// Mean cost against the regular median.
    pub(crate) cost: f64,
}

/// Should fast open be on?
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    On,
    Off,
    NoDifference,
    /// It can't be told.
    Unknown(Inconclusive),
}

/// Why it can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Inconclusive {
    TooFewSamples,
    RttTooSmall,
    Drift,
    HitRateTooLow,
    /// This host does not let clients use fast open.
    ClientDisabled,
}

impl Answer {
    /// The words of all answers.
    pub(crate) const WORDS: [&str; 4] = ["on", "off", "no-difference", "unknown"];

    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::NoDifference => "no-difference",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Inconclusive {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TooFewSamples => "too-few-samples",
            Self::RttTooSmall => "rtt-too-small",
            Self::Drift => "drift",
            Self::HitRateTooLow => "hit-rate-too-low",
            Self::ClientDisabled => "client-disabled",
        }
    }
}

/// The times that a job has, the one that the answer rests on first.
pub(crate) fn metrics(tls: bool, request: bool) -> &'static [Metric] {
    match (tls, request) {
        (false, _) => &[Metric::FirstByte, Metric::Reply],
        (true, true) => &[Metric::FirstByte, Metric::Reply, Metric::Handshake],
        (true, false) => &[Metric::Handshake],
    }
}

impl Analysis {
    /// `metrics`: at least one; `samples`: whole pairs; `loopback`: the target is this host itself.
    pub(crate) fn new(
        samples: &[Sample],
        metrics: &[Metric],
        both_regular: bool,
        loopback: bool,
    ) -> Self {
        let metric = metrics.first().copied().unwrap_or(Metric::FirstByte);
        let proper = |side: Side, metric: Metric| {
            let of_side =
                move |sample: &&Sample| sample.side == side && sample.is_proper(both_regular);
            samples.iter().filter(of_side).filter_map(move |sample| sample.time(metric))
        };
        let rtts = samples.iter().filter(|sample| sample.is_proper(both_regular));
        let rtt = Sorted::new(rtts.filter_map(|sample| sample.rtt).map(millis)).median();
        let share = |side: Side| {
            let all = samples.iter().filter(|sample| sample.side == side).count();
            Share::new(proper(side, metric).count(), all)
        };
        let regular = share(Side::Regular);
        let hit_rate = if both_regular {
            share(Side::FastOpen)
        } else {
            let tried = samples.iter().filter(|sample| {
                sample.side == Side::FastOpen && HitRate::is_hit(sample.verdict.outcome).is_some()
            });
            Share::new(proper(Side::FastOpen, metric).count(), tried.count())
        };
        let regular_median = Sorted::new(proper(Side::Regular, metric)).median();

        let pairs = pairs(samples, metric, both_regular);
        let costs = Costs::new(&pairs);
        let [main_saved, net, drift] = Resampling::default().estimates(pairs.len(), |counts| {
            [costs.saved(counts), costs.net(counts), costs.drift(counts)]
        });
        let distribution = |metric: Metric, saved: Option<Estimate>| Distribution {
            metric,
            fast: Summary::new(proper(Side::FastOpen, metric)),
            regular: Summary::new(proper(Side::Regular, metric)),
            saved,
        };
        let others = metrics
            .iter()
            .skip(1)
            .map(|metric| distribution(*metric, saved(samples, *metric, both_regular)));
        let distributions =
            std::iter::once(distribution(metric, main_saved)).chain(others).collect();
        let misses = misses(samples, metric, both_regular, regular_median.unwrap_or_default());
        let all: usize = misses.iter().map(|miss| miss.count).sum();
        let whole: f64 = misses.iter().map(|miss| miss.cost * real(miss.count)).sum();
        let mut analysis = Self {
            metric,
            both_regular,
            tls: samples.iter().find_map(|sample| sample.tls),
            rtt,
            distributions,
            hit_rate,
            regular,
            lost: (all > 0).then(|| whole / real(all)),
            misses,
            lab: None,
            miss_times: Sorted::new(pairs.iter().filter_map(|pair| Some(pair.miss?.time))),
            ordinary_loss: costs.ordinary_loss(&vec![1; pairs.len()]).unwrap_or_default(),
            net,
            drift: drift
                .filter(|drift| {
                    let limit = MOST_DRIFT * regular_median.unwrap_or_default();
                    drift.differs_from_zero() && drift.value.abs() > limit
                })
                .map(|drift| drift.value),
            answer: Answer::NoDifference,
        };
        analysis.answer = analysis.answer(loopback);
        analysis
    }

    fn answer(&self, loopback: bool) -> Answer {
        if self.is_client_disabled() {
            return Answer::Unknown(Inconclusive::ClientDisabled);
        }
        let attempts = self.regular.total;
        if self.always_misses() && attempts < LEAST_SAMPLES {
            return Answer::Unknown(Inconclusive::HitRateTooLow);
        }
        if attempts < LEAST_SAMPLES || self.regular.count < LEAST_SAMPLES {
            return Answer::Unknown(Inconclusive::TooFewSamples);
        }
        let Some((rtt, net)) = self.rtt.zip(self.net) else {
            return Answer::Unknown(Inconclusive::TooFewSamples);
        };
        if loopback || rtt < LEAST_RTT {
            return Answer::Unknown(Inconclusive::RttTooSmall);
        }
        if self.drift.is_some() {
            return Answer::Unknown(Inconclusive::Drift);
        }
        let matters = net.value.abs() >= LEAST_EFFECT * rtt;
        // Where few used it a small loss is no answer yet: it may turn into a gain once they do.
        let hits = self.used() >= LEAST_HIT_RATE;
        if net.high < 0.0 && matters && (hits || net.value.abs() >= GRAVE * rtt) {
            return Answer::Off;
        }
        if !hits {
            return Answer::Unknown(Inconclusive::HitRateTooLow);
        }
        if self.hit_rate.count < LEAST_SAMPLES {
            return Answer::Unknown(Inconclusive::TooFewSamples);
        }
        if net.low > 0.0 && matters {
            Answer::On
        } else if net.low.abs().max(net.high.abs()) > MOST_LEFT_OPEN * rtt {
            // Not to see a difference is not to know that there is none.
            Answer::Unknown(Inconclusive::TooFewSamples)
        } else {
            Answer::NoDifference
        }
    }

    /// Whether this host forbade all connections that were to use fast open to do so.
    fn is_client_disabled(&self) -> bool {
        let [miss] = self.misses.as_slice() else { return false };
        miss.cause == Some(Cause::ClientDisabled) && miss.count == self.regular.total
    }

    /// Whether none of a few connections used fast open, and all for the same reason: more of them tell nothing new.
    fn always_misses(&self) -> bool {
        let [miss] = self.misses.as_slice() else { return false };
        miss.cause.is_some() && miss.count == self.regular.total && miss.count >= LEAST_ALIKE
    }

    /// The share of all connections that were to use fast open and did, from 0 to 1.
    pub(crate) fn used(&self) -> f64 {
        let all = self.regular.total;
        if all == 0 { 0.0 } else { real(self.hit_rate.count) / real(all) }
    }

    /// Whether the times of this connection are among those of its side.
    pub(crate) fn counts(&self, sample: &Sample) -> bool {
        sample.is_proper(self.both_regular) && sample.time(self.metric).is_some()
    }

    /// Whether there are as many connections as an answer takes at least.
    pub(crate) fn has_enough(&self) -> bool {
        [self.hit_rate.total, self.hit_rate.count, self.regular.count]
            .into_iter()
            .all(|count| count >= LEAST_SAMPLES)
    }

    /// In round trips of this path.
    pub(crate) fn round_trips(&self, time: f64) -> Option<f64> {
        self.rtt.filter(|rtt| *rtt >= LEAST_RTT).map(|rtt| time / rtt)
    }

    /// What is saved of the time that the answer rests on.
    pub(crate) fn saved(&self) -> Option<Estimate> {
        self.main()?.saved
    }

    /// The time that the answer rests on, for both sides.
    pub(crate) fn main(&self) -> Option<&Distribution> {
        self.distributions.first()
    }

    /// How far the widest interval reaches from its value, as a share of the regular median: those of both
    /// medians, and that of their difference.
    pub(crate) fn width(&self) -> Option<f64> {
        let main = self.main()?;
        let (fast, regular) = (main.fast.median?, main.regular.median?);
        let reach = |value: f64, low: f64, high: f64| (high - value).max(value - low);
        let of = |quantile: Quantile| {
            Some(reach(quantile.value, quantile.low?, quantile.high?) / regular.value)
        };
        let saved = main.saved?;
        let difference = reach(saved.value, saved.low, saved.high) / regular.value;
        Some(of(fast)?.max(of(regular)?).max(difference))
    }
}

impl Summary {
    fn new(values: impl Iterator<Item = f64>) -> Self {
        let sorted = Sorted::new(values);
        Self {
            median: sorted.quantile(0.5),
            p90: sorted.quantile(0.9),
            p99: sorted.quantile(0.99),
            sorted,
        }
    }
}

fn saved(samples: &[Sample], metric: Metric, both_regular: bool) -> Option<Estimate> {
    let pairs = pairs(samples, metric, both_regular);
    let costs = Costs::new(&pairs);
    let [saved] = Resampling::default().estimates(pairs.len(), |counts| [costs.saved(counts)]);
    saved
}

fn misses(samples: &[Sample], metric: Metric, both_regular: bool, regular: f64) -> Vec<Miss> {
    let mut misses: Vec<Miss> = Vec::new();
    let tried = samples.iter().filter(|sample| sample.side == Side::FastOpen);
    for sample in tried {
        let time = sample.time(metric);
        if sample.is_proper(both_regular) && time.is_some() {
            continue;
        }
        let cause = sample.verdict.cause;
        let word = cause.map_or(sample.verdict.outcome.as_str(), Cause::as_str);
        let cost = Setback::of(sample, metric).cost(regular);
        if let Some(miss) = misses.iter_mut().find(|miss| miss.word == word) {
            miss.cost += (cost - miss.cost) / real(miss.count + 1);
            miss.count += 1;
        } else {
            let failed = time.is_none();
            misses.push(Miss { word, cause, count: 1, failed, cost });
        }
    }
    misses.sort_by_key(|miss| std::cmp::Reverse(miss.count));
    misses
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^52")]
fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
