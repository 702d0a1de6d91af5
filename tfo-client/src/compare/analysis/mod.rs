//! Analyses samples: how much time fast open saves, what a miss costs, and whether to turn it on.
//!
//! # Overview
//!
//! 1. A sample is *proper* if its verdict is that of its side: `fast-open` for a connection that attempts fast open,
//!    `not-attempted` for a regular one. A connection that attempts fast open and is not proper is a *miss*.
//! 2. *Saved* is the difference of the medians of the proper connections of both sides.
//! 3. *Lost* is the mean cost of a miss, compared with the regular median. A miss that failed costs its whole time,
//!    because the program has to connect again.
//! 4. The *ordinary loss* is the part of the lost time that is not attributed to fast open, because regular
//!    connections on this path lose as much to retransmissions.
//! 5. The *net* expectation of an attempt is hit rate × saved − miss rate × lost + ordinary loss.
//! 6. [`Answer`] depends on the confidence interval of the net expectation: [`Analysis::answer`].
//!
//! # Invariants
//!
//! - The analysis is a pure function of the samples: no clock, no socket, and a fixed seed.
//! - The bootstrap draws whole pairs, so that slow changes of the path affect both sides of a draw alike.
//! - Each interval is at 95 %: those of quantiles and shares are exact, all others are by bootstrap.
//! - "No difference" requires an interval that excludes any large difference. Otherwise the result is inconclusive.

mod costs;

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::{Cause, HitRate};

use super::sample::{Metric, Sample, Side, millis};
use crate::compare::statistics::{Estimate, Quantile, Resampling, Share, Sorted};
use costs::{Costs, Delay, pairs};

/// The minimum number of connections of each side.
pub(crate) const MIN_SAMPLES: usize = 10;
/// The minimum number of connections that miss with the same cause to exclude chance.
const MIN_ALIKE: usize = 3;
/// The minimum round trip time in milliseconds. The hosts' own time would hide a shorter one.
pub(crate) const MIN_RTT: f64 = 1.0;
/// The minimum hit rate. With a lower one, the reason for the misses has to be found first.
pub(crate) const MIN_HIT_RATE: f64 = 0.5;
/// The minimum gain or loss that matters, as a share of a round trip.
const MIN_EFFECT: f64 = 0.02;
/// The loss, as a share of a round trip, that is a reason to leave fast open off even if the hit rate may rise.
const SEVERE_LOSS: f64 = 0.25;
/// The maximum difference, as a share of a round trip, that "no difference" may leave possible.
const MAX_UNCERTAINTY: f64 = 0.25;
/// The maximum difference between the halves, as a share of the regular median.
const MAX_DRIFT: f64 = 0.1;

/// The result of the analysis. Times are in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Analysis {
    /// The time that the answer is based on.
    pub(crate) metric: Metric,
    /// Whether both sides are regular connections, which checks the measurement itself.
    pub(crate) both_regular: bool,
    /// The version of TLS.
    pub(crate) tls: Option<&'static str>,
    /// Median of TCP's own round trip times.
    pub(crate) rtt: Option<f64>,
    pub(crate) distributions: Vec<Distribution>,
    /// The hit rate: of the connections that tried fast open with a cookie, the share that used it. For two sides of
    /// regular connections: the share that was established.
    pub(crate) hit_rate: Share,
    /// The share of regular connections that were established.
    pub(crate) regular: Share,
    /// The misses, by cause.
    pub(crate) misses: Vec<Miss>,
    /// The command that shows connections in the lab, in backticks, if the samples were taken there.
    pub(crate) lab: Option<String>,
    /// The times of the misses, until the answer or the failure.
    pub(crate) miss_times: Sorted,
    /// Mean cost of a miss, compared with the regular median.
    pub(crate) lost: Option<f64>,
    /// The part of the loss that is not attributed to fast open, because regular connections lose as much.
    pub(crate) ordinary_loss: f64,
    /// Hit rate × saved − miss rate × lost + ordinary loss.
    pub(crate) net: Option<Estimate>,
    /// The increase of the regular median from the first half to the second, if it exceeds [`MAX_DRIFT`].
    pub(crate) drift: Option<f64>,
    pub(crate) answer: Answer,
}

/// The distributions of one time, on both sides.
#[derive(Debug, Clone)]
pub(crate) struct Distribution {
    pub(crate) metric: Metric,
    pub(crate) fast: Summary,
    pub(crate) regular: Summary,
    /// The difference of the medians.
    pub(crate) saved: Option<Estimate>,
}

#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) sorted: Sorted,
    pub(crate) median: Option<Quantile>,
    pub(crate) p90: Option<Quantile>,
    pub(crate) p99: Option<Quantile>,
}

/// Connections that attempted fast open without using it, with the same cause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Miss {
    /// The cause; if unknown, the verdict.
    pub(crate) word: &'static str,
    pub(crate) cause: Option<Cause>,
    pub(crate) count: usize,
    /// Whether they failed, so that the program has to connect again.
    pub(crate) failed: bool,
    /// Mean cost, compared with the regular median.
    pub(crate) cost: f64,
}

/// Whether fast open should be on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    On,
    Off,
    NoDifference,
    /// The samples do not answer the question.
    Unknown(Inconclusive),
}

/// The reason why the samples do not answer the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Inconclusive {
    TooFewSamples,
    RttTooSmall,
    Drift,
    HitRateTooLow,
    /// The client's bit of `net.ipv4.tcp_fastopen` is off.
    ClientDisabled,
}

impl Answer {
    /// The words for the answers.
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

/// Returns the times that a job has, beginning with the one that the answer is based on.
pub(crate) fn metrics(tls: bool, request: bool) -> &'static [Metric] {
    match (tls, request) {
        (false, _) => &[Metric::FirstByte, Metric::Reply],
        (true, true) => &[Metric::FirstByte, Metric::Reply, Metric::Handshake],
        (true, false) => &[Metric::Handshake],
    }
}

impl Analysis {
    /// Analyses whole pairs of samples by at least one metric. `loopback` is whether the target is this host itself.
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
                    let limit = MAX_DRIFT * regular_median.unwrap_or_default();
                    drift.differs_from_zero() && drift.value.abs() > limit
                })
                .map(|drift| drift.value),
            answer: Answer::NoDifference,
        };
        analysis.answer = analysis.answer(loopback);
        analysis
    }

    /// Decides the answer, in this order: the client's bit is off, too few samples, no round trip to save, drift, a loss, a low hit rate, a
    /// gain, and last whether the interval is narrow enough to exclude a difference.
    fn answer(&self, loopback: bool) -> Answer {
        if self.is_client_disabled() {
            return Answer::Unknown(Inconclusive::ClientDisabled);
        }
        let attempts = self.regular.total;
        if self.always_misses() && attempts < MIN_SAMPLES {
            return Answer::Unknown(Inconclusive::HitRateTooLow);
        }
        if attempts < MIN_SAMPLES || self.regular.count < MIN_SAMPLES {
            return Answer::Unknown(Inconclusive::TooFewSamples);
        }
        let Some((rtt, net)) = self.rtt.zip(self.net) else {
            return Answer::Unknown(Inconclusive::TooFewSamples);
        };
        if loopback || rtt < MIN_RTT {
            return Answer::Unknown(Inconclusive::RttTooSmall);
        }
        if self.drift.is_some() {
            return Answer::Unknown(Inconclusive::Drift);
        }
        let matters = net.value.abs() >= MIN_EFFECT * rtt;
        // With a low hit rate, a small loss is inconclusive: it may turn into a gain once more connections hit.
        let hits = self.used() >= MIN_HIT_RATE;
        if net.high < 0.0 && matters && (hits || net.value.abs() >= SEVERE_LOSS * rtt) {
            return Answer::Off;
        }
        if !hits {
            return Answer::Unknown(Inconclusive::HitRateTooLow);
        }
        if self.hit_rate.count < MIN_SAMPLES {
            return Answer::Unknown(Inconclusive::TooFewSamples);
        }
        if net.low > 0.0 && matters {
            Answer::On
        } else if net.low.abs().max(net.high.abs()) > MAX_UNCERTAINTY * rtt {
            // The interval includes large differences, so their absence is not shown.
            Answer::Unknown(Inconclusive::TooFewSamples)
        } else {
            Answer::NoDifference
        }
    }

    /// Returns whether this host kept all connections from trying fast open.
    fn is_client_disabled(&self) -> bool {
        let [miss] = self.misses.as_slice() else { return false };
        miss.cause == Some(Cause::ClientDisabled) && miss.count == self.regular.total
    }

    /// Returns whether several connections all missed with the same cause: more of them would show nothing new.
    fn always_misses(&self) -> bool {
        let [miss] = self.misses.as_slice() else { return false };
        miss.cause.is_some() && miss.count == self.regular.total && miss.count >= MIN_ALIKE
    }

    /// Returns the share of all connections in fast open mode that used it, from 0 to 1.
    pub(crate) fn used(&self) -> f64 {
        let all = self.regular.total;
        if all == 0 { 0.0 } else { real(self.hit_rate.count) / real(all) }
    }

    /// Returns whether the times of this connection count as those of its side.
    pub(crate) fn is_counted(&self, sample: &Sample) -> bool {
        sample.is_proper(self.both_regular) && sample.time(self.metric).is_some()
    }

    /// Returns whether there are enough connections for an answer.
    pub(crate) fn has_enough(&self) -> bool {
        [self.hit_rate.total, self.hit_rate.count, self.regular.count]
            .into_iter()
            .all(|count| count >= MIN_SAMPLES)
    }

    /// Converts a time to round trips of this path; `None` if the round trip time is too short.
    pub(crate) fn round_trips(&self, time: f64) -> Option<f64> {
        self.rtt.filter(|rtt| *rtt >= MIN_RTT).map(|rtt| time / rtt)
    }

    /// Returns what is saved of the time that the answer is based on.
    pub(crate) fn saved(&self) -> Option<Estimate> {
        self.main()?.saved
    }

    /// Returns the distributions of the time that the answer is based on.
    pub(crate) fn main(&self) -> Option<&Distribution> {
        self.distributions.first()
    }

    /// Returns how far the widest interval extends from its value, as a share of the regular median. The intervals
    /// are those of both medians, and of their difference.
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
        let cost = Delay::from_sample(sample, metric).cost(regular);
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
