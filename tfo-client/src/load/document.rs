//! The JSON document: `schema-load.json` describes it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hdrhistogram::Histogram;
use serde::Serialize;
use tfo_core::diagnosis::{Cause, Outcome};

use super::results::Results;
use super::settings::{End, Expect, Mix, Pace};
use crate::config::file::Mode;
use crate::output;

#[derive(Serialize)]
struct LoadDocument {
    schema: u32,
    target: Target,
    load: Load,
}

#[derive(Serialize)]
struct Target {
    host: String,
    address: String,
}

#[derive(Serialize)]
struct Load {
    settings: Settings,
    interrupted: bool,
    elapsed_s: f64,
    connections: Connections,
    replies_per_second: f64,
    verdicts: Vec<Verdict>,
    errors: BTreeMap<&'static str, u64>,
    times_us: Times,
    cpu_us_per_connection: Cpu,
    limits: Judged,
}

#[derive(Serialize)]
struct Settings {
    mode: &'static str,
    rate: Option<u32>,
    concurrency: usize,
    threads: u32,
    duration_s: Option<f64>,
    count: Option<u64>,
    request_bytes: usize,
    reply: &'static str,
    sources: Vec<IpAddr>,
    reset: bool,
    timeout_s: f64,
}

#[derive(Serialize)]
struct Connections {
    started: u64,
    replies: u64,
    errors: u64,
    unfinished: u64,
    not_started: u64,
}

#[derive(Serialize)]
struct Verdict {
    #[serde(rename = "verdict")]
    outcome: Outcome,
    cause: Option<Cause>,
    count: u64,
}

#[derive(Serialize)]
struct Times {
    first_byte: Option<Percentiles>,
    first_byte_fast_open: Option<Percentiles>,
    first_byte_others: Option<Percentiles>,
    reply: Option<Percentiles>,
    late_start: Option<Percentiles>,
}

#[derive(Serialize)]
struct Percentiles {
    count: u64,
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
}

#[derive(Serialize)]
struct Cpu {
    total: f64,
    user: f64,
    system: f64,
}

#[derive(Serialize)]
struct Judged {
    fail_under: Option<u32>,
    rate_met: Option<bool>,
    max_p99_us: Option<f64>,
    p99_met: Option<bool>,
}

pub(super) fn document(results: &Results<'_>) -> String {
    output::json(&LoadDocument {
        schema: 1,
        target: Target { host: results.host.to_owned(), address: results.address.to_string() },
        load: load(results),
    })
}

fn load(results: &Results<'_>) -> Load {
    let Results { total, settings: load, .. } = *results;
    let times = &total.times;
    Load {
        settings: settings(results),
        interrupted: total.interrupted,
        elapsed_s: total.elapsed.as_secs_f64(),
        connections: Connections {
            started: total.started,
            replies: total.replies(),
            errors: total.errors(),
            unfinished: total.unfinished,
            not_started: total.not_started,
        },
        replies_per_second: total.rate(),
        verdicts: total
            .verdicts()
            .into_iter()
            .map(|(outcome, cause, count)| Verdict { outcome, cause, count })
            .collect(),
        errors: total
            .connection_errors()
            .map(|(error, count)| (error.as_str(), count))
            .filter(|(_, count)| *count > 0)
            .collect(),
        times_us: Times {
            first_byte: percentiles(&times.first_byte()),
            first_byte_fast_open: percentiles(&times.fast_open),
            first_byte_others: percentiles(&times.regular),
            reply: percentiles(&times.reply),
            late_start: percentiles(&times.start),
        },
        cpu_us_per_connection: Cpu {
            total: total.per_connection(total.cpu.total()),
            user: total.per_connection(total.cpu.user),
            system: total.per_connection(total.cpu.system),
        },
        limits: Judged {
            fail_under: load.fail_under,
            rate_met: results.rate_met,
            max_p99_us: load.max_p99.map(|time| time.as_secs_f64() * 1e6),
            p99_met: results.p99_met,
        },
    }
}

fn settings(results: &Results<'_>) -> Settings {
    let Results { settings: load, plan, .. } = *results;
    Settings {
        mode: match load.mix {
            Mix::All(Mode::Auto) => "auto",
            Mix::All(Mode::Sendto) => "sendto",
            Mix::All(Mode::Connect) => "connect",
            Mix::All(Mode::Off) => "off",
            Mix::InTurn => "mixed",
        },
        rate: match load.pace {
            Pace::Fast => None,
            Pace::Rate(rate) => Some(rate),
        },
        concurrency: load.concurrency,
        threads: load.threads,
        duration_s: match load.end {
            End::After(time) => Some(time.as_secs_f64()),
            End::Count(_) => None,
        },
        count: match load.end {
            End::After(_) => None,
            End::Count(count) => Some(count),
        },
        request_bytes: plan.request.len(),
        reply: match plan.expect {
            Expect::Nothing => "none",
            Expect::Beginning(_) => "until-close",
            Expect::Bytes(_) => "bytes",
            Expect::Http(_) => "http",
        },
        sources: load.sources.clone(),
        reset: load.reset,
        timeout_s: load.timeout.as_secs_f64(),
    }
}

fn percentiles(times: &Histogram<u64>) -> Option<Percentiles> {
    let at = |quantile| micros(times.value_at_quantile(quantile));
    (!times.is_empty()).then(|| Percentiles {
        count: times.len(),
        min: micros(times.min()),
        mean: times.mean().round() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p99_9: at(0.999),
        p99_99: at(0.9999),
        max: micros(times.max()),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a histogram has three digits")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
