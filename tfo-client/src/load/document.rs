//! The JSON document: `schema/load.json` describes it.

#![allow(clippy::doc_markdown, reason = "the comments are the descriptions of the schema")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use hdrhistogram::Histogram;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use tfo_core::diagnosis::{Cause, Outcome};

use super::connection_error::ConnectionError;
use super::results::Results;
use super::settings::{End, Expect, LoadMode, Pace};
use crate::{output, schema};

/// What `tfo-client load -o json` prints: one document.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "tfo-client load")]
pub(crate) struct LoadDocument {
    /// The version of this format. A field may be added to it, none changes or goes.
    #[schemars(extend("const" = 1))]
    schema: u32,
    target: Target,
    load: Load,
}

#[derive(Serialize, JsonSchema)]
struct Target {
    /// The host as it was given.
    #[schemars(length(min = 1))]
    host: String,
    /// Where the connections went: address and port.
    #[schemars(extend("pattern" = schema::ADDRESS))]
    address: String,
}

#[derive(Serialize, JsonSchema)]
struct Load {
    settings: Settings,
    /// The user ended it.
    interrupted: bool,
    /// From the beginning to when no more connections were started, or to the last reply, whichever is later.
    #[schemars(range(min = 0))]
    elapsed_s: f64,
    /// Each connection is counted once.
    connections: Connections,
    /// Replies in elapsed_s.
    #[schemars(range(min = 0))]
    replies_per_second: f64,
    /// What became of fast open on the connections that got their reply, the most frequent first.
    verdicts: Vec<Verdict>,
    /// Of the connections with a reply that tried fast open and had a cookie or needed none, the share that used it.
    /// Null: there are none.
    #[schemars(range(min = 0, max = 1))]
    hit_rate: Option<f64>,
    /// Why connections did not get their reply, and how many, by kind; kinds that did not occur are left out.
    #[schemars(schema_with = "counted_errors")]
    errors: BTreeMap<ConnectionError, u64>,
    /// Times of the connections that got their reply, µs: from their start, or at a rate from when they were
    /// due. Null: there are none.
    times_us: Times,
    /// Time of the processor that this client used for each connection that was started, µs. In a short run
    /// the split is a rough one.
    cpu_us_per_connection: Cpu,
    /// The user's limits; null: there is none. One that is not met makes the exit status 1.
    limits: Limits,
}

fn counted_errors(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": generator.subschema_for::<ConnectionError>(),
        "additionalProperties": { "type": "integer", "minimum": 1 },
    })
}

#[derive(Serialize, JsonSchema)]
struct Settings {
    /// How the first bytes are sent.
    mode: LoadMode,
    /// Connections to be started a second; null: as fast as the concurrency allows.
    #[schemars(range(min = 1))]
    rate: Option<u32>,
    /// The most connections that are open at once.
    #[schemars(range(min = 1))]
    concurrency: usize,
    /// Threads that open connections.
    #[schemars(range(min = 1))]
    threads: u32,
    /// How long connections are started; null: until there have been as many as count says.
    #[schemars(range(min = 0))]
    duration_s: Option<f64>,
    /// Connections to be started; null: for duration_s.
    #[schemars(range(min = 1))]
    count: Option<u64>,
    /// Bytes that each connection sends.
    request_bytes: usize,
    /// What a reply is: none is waited for, all until the server closes, so many bytes, or an HTTP response.
    #[schemars(extend("enum" = ["none", "until-close", "bytes", "http"]))]
    reply: &'static str,
    /// Local addresses that take turns; empty: the kernel chooses.
    sources: Vec<IpAddr>,
    /// Connections are closed with a RST.
    reset: bool,
    /// The time that a connection may take.
    #[schemars(range(min = 0))]
    timeout_s: f64,
}

#[derive(Serialize, JsonSchema)]
struct Connections {
    /// All that were started, or tried to: replies + errors + unfinished.
    started: u64,
    /// Those that got their reply: the sum of the verdicts.
    replies: u64,
    /// Those that did not: the sum of the errors.
    errors: u64,
    /// Those that were open when the user ended it.
    unfinished: u64,
    /// Those that were due at the rate, and found no room: none of the above.
    not_started: u64,
}

#[derive(Serialize, JsonSchema)]
struct Verdict {
    #[serde(rename = "verdict")]
    outcome: Outcome,
    /// Why, as far as a connection's own bits say.
    cause: Option<Cause>,
    /// How many.
    #[schemars(range(min = 1))]
    count: u64,
}

#[derive(Serialize, JsonSchema)]
struct Times {
    /// To the reply's first byte; without a reply, to the end of the handshake.
    first_byte: Option<Percentiles>,
    /// The same, of the connections whose SYN data was acknowledged.
    first_byte_fast_open: Option<Percentiles>,
    /// The same, of the others.
    first_byte_others: Option<Percentiles>,
    /// To the reply's end.
    reply: Option<Percentiles>,
    /// From when a connection was due to when it was started. Null without a rate.
    late_start: Option<Percentiles>,
}

/// Times in µs, exact to three digits.
#[derive(Serialize, JsonSchema)]
struct Percentiles {
    /// How many times were measured.
    #[schemars(range(min = 1))]
    count: u64,
    /// The shortest.
    min: Micros,
    /// Their mean.
    mean: Micros,
    /// The median.
    p50: Micros,
    /// 90 % are at most that long.
    p90: Micros,
    /// 95 % are.
    p95: Micros,
    /// 99 % are.
    p99: Micros,
    /// 99.9 % are.
    p99_9: Micros,
    /// 99.99 % are.
    p99_99: Micros,
    /// The longest.
    max: Micros,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Micros(#[schemars(range(min = 0))] f64);

#[derive(Serialize, JsonSchema)]
struct Cpu {
    /// Both together.
    total: Micros,
    /// In this program's own code.
    user: Micros,
    /// In the kernel, on its behalf.
    system: Micros,
}

#[derive(Serialize, JsonSchema)]
struct Limits {
    /// --fail-under: replies a second.
    #[schemars(range(min = 1))]
    fail_under: Option<u32>,
    /// Whether there were as many.
    rate_met: Option<bool>,
    /// --max-p99, µs.
    max_p99_us: Option<Micros>,
    /// Whether the 99th percentile to the first byte is within; connections without a reply count as slower
    /// than any other.
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
        hit_rate: total.hit_rate(),
        errors: total.connection_errors().filter(|(_, count)| *count > 0).collect(),
        times_us: Times {
            first_byte: percentiles(&times.first_byte()),
            first_byte_fast_open: percentiles(&times.fast_open),
            first_byte_others: percentiles(&times.regular),
            reply: percentiles(&times.reply),
            late_start: percentiles(&times.start),
        },
        cpu_us_per_connection: Cpu {
            total: Micros(total.per_connection(total.cpu.total())),
            user: Micros(total.per_connection(total.cpu.user)),
            system: Micros(total.per_connection(total.cpu.system)),
        },
        limits: Limits {
            fail_under: load.fail_under,
            rate_met: results.rate_met,
            max_p99_us: load.max_p99.map(|time| Micros(time.as_secs_f64() * 1e6)),
            p99_met: results.p99_met,
        },
    }
}

fn settings(results: &Results<'_>) -> Settings {
    let Results { settings: load, plan, .. } = *results;
    Settings {
        mode: load.mode,
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
        mean: Micros(times.mean().round() / 1e3),
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
fn micros(nanos: u64) -> Micros {
    Micros(nanos as f64 / 1e3)
}
