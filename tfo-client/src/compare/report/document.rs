//! The JSON document of `compare`: `schema-compare.json` describes it.

use serde::Serialize;
use tfo_core::diagnosis::{Cause, Outcome};

use super::results::Results;
use super::words;
use crate::compare::analysis::{self, Analysis, Answer};
use crate::compare::comparison::{Comparison, FailedTarget};
use crate::compare::sample::{Metric, Sample, millis};
use crate::compare::statistics::{self, Quantile};
use crate::output;

#[derive(Serialize)]
struct CompareDocument<'a> {
    schema: u32,
    compare: Settings<'a>,
    targets: Vec<Target<'a>>,
}

#[derive(Serialize)]
struct Settings<'a> {
    version: &'a str,
    job: String,
    /// The most.
    pairs: usize,
    until_ci: Option<f64>,
    mode: &'a str,
    /// `null`: the job has first bytes of its own.
    message_bytes: Option<usize>,
    connect_timeout_us: i64,
    reply_timeout_us: i64,
    interval_us: i64,
    lab: Option<Lab<'a>>,
}

#[derive(Serialize)]
struct Lab<'a> {
    rtt_us: i64,
    jitter_us: i64,
    loss: f64,
    boxes: Vec<&'a str>,
    servers: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Target<'a> {
    Measured(Box<Measured<'a>>),
    Failed { host: &'a str, port: u16, error: &'a str },
}

#[derive(Serialize)]
struct Measured<'a> {
    host: &'a str,
    port: u16,
    address: String,
    interrupted: bool,
    answer: &'a str,
    doubt: Option<&'a str>,
    finding: String,
    metric: &'a str,
    tls: Option<&'a str>,
    rtt_us: Option<i64>,
    times: Vec<Times<'a>>,
    hit_rate: Share,
    regular: Share,
    misses: Vec<Miss<'a>>,
    lost_us: Option<i64>,
    ordinary_loss_us: i64,
    net: Option<Estimate>,
    drift_us: Option<i64>,
    samples: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Times<'a> {
    metric: &'a str,
    regular: Summary,
    fast_open: Summary,
    saved: Option<Estimate>,
    saved_round_trips: Option<f64>,
}

#[derive(Serialize)]
struct Summary {
    count: usize,
    median: Option<Estimate>,
    p90: Option<Estimate>,
    p99: Option<Estimate>,
}

/// A value with its interval of 95 %; `null`: the sample gives no bound.
#[derive(Serialize)]
struct Estimate {
    us: i64,
    low_us: Option<i64>,
    high_us: Option<i64>,
}

#[derive(Serialize)]
struct Share {
    count: usize,
    total: usize,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct Miss<'a> {
    what: &'a str,
    count: usize,
    cost_us: i64,
}

#[derive(Serialize)]
struct Line<'a> {
    pair: usize,
    /// It was made first of its pair.
    first: bool,
    side: &'a str,
    verdict: Outcome,
    cause: Option<Cause>,
    /// Its times are among those of its side.
    counted: bool,
    handshake_us: Option<i64>,
    first_byte_us: Option<i64>,
    reply_us: Option<i64>,
    ended_us: i64,
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
            Target::Failed { host: &target.host, port: target.port, error: why }
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
            Answer::Unknown(doubt) => Some(doubt.as_str()),
            _ => None,
        },
        finding: format!("{} {}", words::headline(analysis), words::reason(analysis)),
        metric: analysis.metric.as_str(),
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

fn times(analysis: &Analysis) -> Vec<Times<'_>> {
    let summary = |summary: &analysis::Summary| Summary {
        count: summary.sorted.len(),
        median: summary.median.map(quantile),
        p90: summary.p90.map(quantile),
        p99: summary.p99.map(quantile),
    };
    let of = |distribution: &analysis::Distribution| Times {
        metric: distribution.metric.as_str(),
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

fn line<'a>(sample: &Sample, analysis: &Analysis) -> Line<'a> {
    let time = |metric: Metric| sample.time(metric).map(micros);
    Line {
        pair: sample.pair,
        first: sample.first,
        side: sample.side.as_str(),
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
