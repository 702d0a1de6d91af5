//! The JSON document: `schema/compare.json` describes it.

#![allow(clippy::doc_markdown, reason = "the comments are the descriptions of the schema")]

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::{Cause, Outcome};

use super::results::Results;
use super::words;
use crate::compare::analysis::{self, Analysis, Answer, Inconclusive};
use crate::compare::comparison::{Comparison, FailedTarget};
use crate::compare::sample::{Metric, Sample, Side, millis};
use crate::compare::statistics::{self, Quantile};
use crate::{output, schema};

/// The output of `tfo-client compare -o json`, and the file of --export-json: one document.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "tfo-client compare")]
pub(crate) struct CompareDocument<'a> {
    /// The version of this format. Fields may be added within a version, but never change or disappear.
    #[schemars(extend("const" = 1))]
    schema: u32,
    compare: Settings<'a>,
    /// The targets, in the order of the file of --targets; one without this flag.
    #[schemars(length(min = 1))]
    targets: Vec<Target<'a>>,
}

/// The settings of the measurement.
#[derive(Serialize, JsonSchema)]
struct Settings<'a> {
    /// The version of tfo-client.
    #[schemars(length(min = 1))]
    version: &'a str,
    /// The request of each connection, in words.
    #[schemars(length(min = 1))]
    job: String,
    /// The maximum number of pairs.
    #[schemars(range(min = 1))]
    pairs: usize,
    /// How far intervals may extend from their values, as a share of the regular median.
    #[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))]
    until_ci: Option<f64>,
    /// How the first bytes are sent; off: both connections of a pair are regular.
    #[schemars(extend("enum" = ["auto", "sendto", "connect", "off"]))]
    mode: &'a str,
    /// The size of the first bytes; null: the job determines them.
    #[schemars(range(min = 1))]
    message_bytes: Option<usize>,
    #[schemars(range(min = 0))]
    connect_timeout_us: i64,
    #[schemars(range(min = 0))]
    reply_timeout_us: i64,
    #[schemars(range(min = 0))]
    interval_us: i64,
    /// The lab in which the targets were measured.
    lab: Option<Lab<'a>>,
}

/// The network of --lab.
#[derive(Serialize, JsonSchema)]
struct Lab<'a> {
    #[schemars(range(min = 0))]
    rtt_us: i64,
    #[schemars(range(min = 0))]
    jitter_us: i64,
    #[schemars(range(min = 0, max = 1))]
    loss: f64,
    boxes: Vec<&'a str>,
    #[schemars(range(min = 1))]
    servers: usize,
}

/// The result for one target.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Target<'a> {
    Measured(Box<Measured<'a>>),
    NotMeasured(NotMeasured<'a>),
}

/// A target that could not be measured.
#[derive(Serialize, JsonSchema)]
struct NotMeasured<'a> {
    host: &'a str,
    #[schemars(range(min = 1))]
    port: u16,
    #[schemars(length(min = 1))]
    error: &'a str,
}

/// The comparison for one target.
#[derive(Serialize, JsonSchema)]
struct Measured<'a> {
    host: &'a str,
    #[schemars(range(min = 1))]
    port: u16,
    /// The address and port that the connections were made to.
    #[schemars(extend("pattern" = schema::ADDRESS))]
    address: String,
    /// Whether a signal ended the measurement, before all pairs were made.
    interrupted: bool,
    /// Whether fast open should be on; unknown: doubt gives the reason.
    #[schemars(extend("enum" = Answer::WORDS))]
    answer: &'a str,
    /// The reason why the answer is unknown.
    doubt: Option<Inconclusive>,
    /// The answer in words.
    #[schemars(length(min = 1))]
    finding: String,
    /// The time that the answer is based on.
    metric: Metric,
    /// The version of TLS.
    #[schemars(extend("enum" = ["1.2", "1.3", null]))]
    tls: Option<&'a str>,
    /// Median of TCP's own round trip times.
    #[schemars(range(min = 0))]
    rtt_us: Option<i64>,
    #[schemars(length(min = 1))]
    times: Vec<Times>,
    /// Of the connections that tried fast open with a cookie, the share that used it. A connection that only fetched a
    /// cookie, or that this host kept from trying, is neither a hit nor a miss.
    hit_rate: Share,
    /// The share of regular connections that were established.
    regular: Share,
    /// The attempts that did not use fast open, by cause.
    misses: Vec<Miss<'a>>,
    /// Mean cost of a miss.
    lost_us: Option<i64>,
    /// The part of the loss that is not attributed to fast open, because regular connections lose as much.
    ordinary_loss_us: i64,
    /// Hit rate x saved - miss rate x lost + ordinary loss.
    net: Option<Estimate>,
    /// The increase of the regular median from the first half to the second; null if it does not matter.
    drift_us: Option<i64>,
    samples: Vec<SampleEntry>,
}

/// The distributions of one time on both sides, of the connections that are counted.
#[derive(Serialize, JsonSchema)]
struct Times {
    metric: Metric,
    regular: Summary,
    fast_open: Summary,
    /// Difference of the medians, with an interval by bootstrap.
    saved: Option<Estimate>,
    /// The difference in round trips; null if the round trip time is too short.
    saved_round_trips: Option<f64>,
}

/// Quantiles, with intervals by order statistics.
#[derive(Serialize, JsonSchema)]
struct Summary {
    count: usize,
    median: Option<Estimate>,
    p90: Option<Estimate>,
    p99: Option<Estimate>,
}

/// A value and its 95 % confidence interval; a bound is null if the sample is too small for it.
#[derive(Serialize, JsonSchema)]
struct Estimate {
    us: i64,
    low_us: Option<i64>,
    high_us: Option<i64>,
}

/// A proportion with its 95 % confidence interval (Clopper-Pearson).
#[derive(Serialize, JsonSchema)]
struct Share {
    count: usize,
    total: usize,
    #[schemars(range(min = 0, max = 1))]
    low: f64,
    #[schemars(range(min = 0, max = 1))]
    high: f64,
}

#[derive(Serialize, JsonSchema)]
struct Miss<'a> {
    /// The cause; if unknown, the verdict.
    #[schemars(extend("enum" = miss_words()))]
    what: &'a str,
    #[schemars(range(min = 1))]
    count: usize,
    /// Mean cost, compared with the regular median.
    cost_us: i64,
}

fn miss_words() -> Vec<&'static str> {
    let causes = Cause::ALL.iter().map(|cause| cause.as_str());
    causes.chain(Outcome::ALL.iter().map(|outcome| outcome.as_str())).collect()
}

/// One connection.
#[derive(Serialize, JsonSchema)]
struct SampleEntry {
    #[schemars(range(min = 1))]
    pair: usize,
    /// Whether it was the first connection of its pair.
    first: bool,
    side: Side,
    verdict: Outcome,
    /// The cause of the verdict, if it has one.
    cause: Option<Cause>,
    /// Whether its times count as those of its side.
    counted: bool,
    /// Time until the TLS handshake completed.
    #[schemars(range(min = 0))]
    handshake_us: Option<i64>,
    /// Time until the first byte of the reply.
    #[schemars(range(min = 0))]
    first_byte_us: Option<i64>,
    /// Time until the reply was complete.
    #[schemars(range(min = 0))]
    reply_us: Option<i64>,
    /// Time until the dialogue ended, or the connection failed.
    #[schemars(range(min = 0))]
    ended_us: i64,
    /// TCP's own round trip time, of the handshake; null if a retransmission made it unusable.
    #[schemars(range(min = 0))]
    rtt_us: Option<i64>,
}

pub(super) fn document(results: &Results) -> String {
    let Results { settings, compare, .. } = results;
    output::json(&CompareDocument {
        schema: 1,
        compare: Settings {
            version: env!("CARGO_PKG_VERSION"),
            job: compare.job.to_string(),
            pairs: compare.pairs,
            until_ci: compare.until_ci,
            mode: settings.probe.mode.name(),
            message_bytes: compare.job.sends_message().then(|| settings.payload.bytes()),
            connect_timeout_us: micros(millis(settings.probe.connect_timeout.get())),
            reply_timeout_us: micros(millis(settings.probe.reply_timeout.get())),
            interval_us: micros(millis(settings.probe.interval.get())),
            lab: compare.lab.as_ref().map(|lab| Lab {
                rtt_us: micros(millis(lab.rtt)),
                jitter_us: micros(millis(lab.jitter)),
                loss: lab.loss,
                boxes: lab.boxes.iter().map(|middlebox| middlebox.name()).collect(),
                servers: lab.servers,
            }),
        },
        targets: results.targets.iter().map(target).collect(),
    })
}

fn target(result: &Result<Comparison, FailedTarget>) -> Target<'_> {
    match result {
        Ok(found) => Target::Measured(Box::new(measured(found))),
        Err(FailedTarget { target, reason, .. }) => {
            let (host, port) = (&target.host, target.port);
            Target::NotMeasured(NotMeasured { host, port, error: reason })
        }
    }
}

fn measured(found: &Comparison) -> Measured<'_> {
    let analysis = &found.analysis;
    Measured {
        host: &found.target.host,
        port: found.target.port,
        address: found.address.to_string(),
        interrupted: found.interrupted,
        answer: analysis.answer.as_str(),
        doubt: match &analysis.answer {
            Answer::Unknown(reason) => Some(*reason),
            _ => None,
        },
        finding: format!("{} {}", words::headline(analysis), words::reason(analysis)),
        metric: analysis.metric,
        tls: analysis.tls,
        rtt_us: analysis.rtt.map(micros),
        times: times(analysis),
        hit_rate: share(analysis.hit_rate),
        regular: share(analysis.regular),
        misses: analysis
            .misses
            .iter()
            .map(|miss| Miss { what: miss.word, count: miss.count, cost_us: micros(miss.cost) })
            .collect(),
        lost_us: analysis.lost.map(micros),
        ordinary_loss_us: micros(analysis.ordinary_loss),
        net: analysis.net.map(estimate),
        drift_us: analysis.drift.map(micros),
        samples: found.samples.iter().map(|sample| line(sample, analysis)).collect(),
    }
}

fn times(analysis: &Analysis) -> Vec<Times> {
    let summary = |summary: &analysis::Summary| Summary {
        count: summary.sorted.len(),
        median: summary.median.map(quantile),
        p90: summary.p90.map(quantile),
        p99: summary.p99.map(quantile),
    };
    let of = |distribution: &analysis::Distribution| Times {
        metric: distribution.metric,
        regular: summary(&distribution.regular),
        fast_open: summary(&distribution.fast),
        saved: distribution.saved.map(estimate),
        saved_round_trips: distribution
            .saved
            .and_then(|saved| analysis.round_trips(saved.value))
            .map(|trips| (trips * 1000.0).round() / 1000.0),
    };
    analysis.distributions.iter().map(of).collect()
}

fn line(sample: &Sample, analysis: &Analysis) -> SampleEntry {
    let time = |metric: Metric| sample.time(metric).map(micros);
    SampleEntry {
        pair: sample.pair,
        first: sample.first,
        side: sample.side,
        verdict: sample.verdict.outcome,
        cause: sample.verdict.cause,
        counted: analysis.is_counted(sample),
        handshake_us: time(Metric::Handshake),
        first_byte_us: time(Metric::FirstByte),
        reply_us: time(Metric::Reply),
        ended_us: micros(millis(sample.ended)),
        rtt_us: sample.rtt.map(|rtt| micros(millis(rtt))),
    }
}

fn quantile(quantile: Quantile) -> Estimate {
    Estimate {
        us: micros(quantile.value),
        low_us: quantile.low.map(micros),
        high_us: quantile.high.map(micros),
    }
}

fn estimate(found: statistics::Estimate) -> Estimate {
    Estimate {
        us: micros(found.value),
        low_us: Some(micros(found.low)),
        high_us: Some(micros(found.high)),
    }
}

fn share(share: statistics::Share) -> Share {
    let rounded = |share: f64| (share * 1e6).round() / 1e6;
    Share {
        count: share.count,
        total: share.total,
        low: rounded(share.low),
        high: rounded(share.high),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and times are in range")]
pub(super) fn micros(ms: f64) -> i64 {
    (ms * 1e3).round() as i64
}
