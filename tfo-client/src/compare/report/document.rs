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

/// What `tfo-client compare -o json` prints, and --export-json writes: one document.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "tfo-client compare")]
pub(crate) struct CompareDocument<'a> {
    /// The version of this format. A field may be added to it, none changes or goes.
    #[schemars(extend("const" = 1))]
    schema: u32,
    compare: Settings<'a>,
    /// In the order of the file of --targets; one without.
    #[schemars(length(min = 1))]
    targets: Vec<Target<'a>>,
}

/// How it was measured.
#[derive(Serialize, JsonSchema)]
struct Settings<'a> {
    /// Of tfo-client.
    #[schemars(length(min = 1))]
    version: &'a str,
    /// What each connection does.
    #[schemars(length(min = 1))]
    job: String,
    /// The most that are measured.
    #[schemars(range(min = 1))]
    pairs: usize,
    /// How far intervals may reach from their values, as a share of the regular median.
    #[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))]
    until_ci: Option<f64>,
    /// How the first bytes are handed over; off: both of a pair are regular.
    #[schemars(extend("enum" = ["auto", "sendto", "connect", "off"]))]
    mode: &'a str,
    /// Null: the job has first bytes of its own.
    #[schemars(range(min = 1))]
    message_bytes: Option<usize>,
    #[schemars(range(min = 0))]
    connect_timeout_us: i64,
    #[schemars(range(min = 0))]
    reply_timeout_us: i64,
    #[schemars(range(min = 0))]
    interval_us: i64,
    /// The lab that it was measured in.
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

/// What became of a target.
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
    /// What was connected to.
    #[schemars(extend("pattern" = schema::ADDRESS))]
    address: String,
    /// It was ended by a signal, and has fewer pairs than were asked for.
    interrupted: bool,
    /// Should fast open be on? unknown: doubt says why not.
    #[schemars(extend("enum" = Answer::WORDS))]
    answer: &'a str,
    /// Why the answer is unknown.
    doubt: Option<Inconclusive>,
    /// The answer in words.
    #[schemars(length(min = 1))]
    finding: String,
    /// The time that the answer rests on.
    metric: Metric,
    /// The version of TLS.
    #[schemars(extend("enum" = ["1.2", "1.3", null]))]
    tls: Option<&'a str>,
    /// Median of TCP's own round trip times.
    #[schemars(range(min = 0))]
    rtt_us: Option<i64>,
    #[schemars(length(min = 1))]
    times: Vec<Times>,
    /// Connections that used fast open, of those that tried it and had a cookie: one that only fetched a cookie, or that
    /// this host kept from trying, is neither hit nor miss.
    hit_rate: Share,
    /// Regular connections that came about, of all.
    regular: Share,
    /// What became of the others.
    misses: Vec<Miss<'a>>,
    /// Mean cost of a miss.
    lost_us: Option<i64>,
    /// What of the loss of an attempt is not charged to fast open, because regular connections have it too.
    ordinary_loss_us: i64,
    /// Hit rate x saved - miss rate x lost, without the ordinary loss.
    net: Option<Estimate>,
    /// How far the second half's regular median lies above the first's, where it matters.
    drift_us: Option<i64>,
    samples: Vec<SampleEntry>,
}

/// One time, for both sides, of the connections that count.
#[derive(Serialize, JsonSchema)]
struct Times {
    metric: Metric,
    regular: Summary,
    fast_open: Summary,
    /// Difference of the medians; its interval is by bootstrap.
    saved: Option<Estimate>,
    /// Null where the round trip is too short.
    saved_round_trips: Option<f64>,
}

/// Quantiles; their intervals are by order statistics.
#[derive(Serialize, JsonSchema)]
struct Summary {
    count: usize,
    median: Option<Estimate>,
    p90: Option<Estimate>,
    p99: Option<Estimate>,
}

/// A value and its interval of 95 %; null: the sample gives no bound.
#[derive(Serialize, JsonSchema)]
struct Estimate {
    us: i64,
    low_us: Option<i64>,
    high_us: Option<i64>,
}

/// A proportion with its interval of 95 % (Clopper-Pearson).
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
    /// The cause, or else the verdict.
    #[schemars(extend("enum" = miss_words()))]
    what: &'a str,
    #[schemars(range(min = 1))]
    count: usize,
    /// Mean cost against the regular median.
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
    /// It was made first of its pair.
    first: bool,
    side: Side,
    verdict: Outcome,
    /// Why, where there is a why.
    cause: Option<Cause>,
    /// Its times are among those of its side.
    counted: bool,
    /// Until the TLS handshake had ended.
    #[schemars(range(min = 0))]
    handshake_us: Option<i64>,
    /// Until the first byte of the reply.
    #[schemars(range(min = 0))]
    first_byte_us: Option<i64>,
    /// Until the reply was whole.
    #[schemars(range(min = 0))]
    reply_us: Option<i64>,
    /// Until all was said, or it was given up.
    #[schemars(range(min = 0))]
    ended_us: i64,
    /// TCP's own round trip time, of the handshake; null when a retransmission spoiled it.
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
            mode: settings.mode.name(),
            message_bytes: compare.job.sends_message().then(|| settings.payload.bytes()),
            connect_timeout_us: micros(millis(settings.connect_timeout)),
            reply_timeout_us: micros(millis(settings.reply_timeout)),
            interval_us: micros(millis(settings.interval)),
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
        Err(FailedTarget { target, why, .. }) => {
            let (host, port) = (&target.host, target.port);
            Target::NotMeasured(NotMeasured { host, port, error: why })
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
            Answer::Unknown(doubt) => Some(*doubt),
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
        counted: analysis.counts(sample),
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

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and times fit")]
pub(super) fn micros(ms: f64) -> i64 {
    (ms * 1e3).round() as i64
}
