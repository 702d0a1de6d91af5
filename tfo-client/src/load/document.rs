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
use super::settings::{Expect, LoadMode, Pace, RunLength};
use crate::output::Failure;
use crate::{output, schema};

/// The output of `tfo-client load -o json`: one document.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "tfo-client load")]
pub(crate) struct LoadDocument {
    /// The version of this format. Fields may be added within a version, but never change or disappear.
    #[schemars(extend("const" = 1))]
    schema: u32,
    target: Target,
    /// Why there is no address to connect to. Absent if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    error: Option<String>,
    /// The run; null without an address.
    load: Option<Load>,
}

#[derive(Serialize, JsonSchema)]
struct Target {
    /// The host as given by the user.
    #[schemars(length(min = 1))]
    host: String,
    /// The address and port that the connections were made to; null if there is none.
    #[schemars(extend("pattern" = schema::ADDRESS))]
    address: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Load {
    settings: Settings,
    /// Whether the user interrupted the run.
    interrupted: bool,
    /// Time from the beginning to the end of new connections, or to the last reply, whichever is later.
    #[schemars(range(min = 0))]
    elapsed_s: f64,
    /// The connections, each counted once.
    connections: Connections,
    /// Replies per second of elapsed_s.
    #[schemars(range(min = 0))]
    replies_per_second: f64,
    /// The verdicts on the connections that got their reply, the most frequent first.
    verdicts: Vec<Verdict>,
    /// Of the connections with a reply that tried fast open with a cookie, or without needing one, the share that used
    /// it; null if there are none.
    #[schemars(range(min = 0, max = 1))]
    hit_rate: Option<f64>,
    /// The number of connections without a reply, by error; errors that did not occur are omitted.
    #[schemars(schema_with = "counted_errors")]
    errors: BTreeMap<ConnectionError, u64>,
    /// Times of the connections that got their reply, in µs: from their start, or with a rate from when they were
    /// due. Null if there are none.
    times_us: Times,
    /// CPU time of this client per started connection, in µs. The split is inaccurate in a short run.
    cpu_us_per_connection: Cpu,
    /// The user's limits; null if not set. A limit that is not met makes the exit status 1.
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
    /// Connections to start per second; null: as fast as the concurrency allows.
    #[schemars(range(min = 1))]
    rate: Option<u32>,
    /// The maximum number of open connections.
    #[schemars(range(min = 1))]
    concurrency: usize,
    /// The number of threads that open connections.
    #[schemars(range(min = 1))]
    threads: u32,
    /// How long connections are started; null if count limits the run.
    #[schemars(range(min = 0))]
    duration_s: Option<f64>,
    /// The number of connections to start; null if duration_s limits the run.
    #[schemars(range(min = 1))]
    count: Option<u64>,
    /// The size of the request, in bytes.
    request_bytes: usize,
    /// The expected reply: none, everything until the server closes, a number of bytes, or an HTTP response.
    #[schemars(extend("enum" = ["none", "until-close", "bytes", "http"]))]
    reply: &'static str,
    /// The local addresses used in turn; empty: the kernel chooses.
    sources: Vec<IpAddr>,
    /// Whether connections are closed with a RST.
    reset: bool,
    /// The timeout of a connection.
    #[schemars(range(min = 0))]
    timeout_s: f64,
}

#[derive(Serialize, JsonSchema)]
struct Connections {
    /// Connections that were started, including failed attempts: replies + errors + unfinished.
    started: u64,
    /// Connections that got their reply: the sum of the verdicts.
    replies: u64,
    /// Connections that failed: the sum of the errors.
    errors: u64,
    /// Connections that were open when the user interrupted the run.
    unfinished: u64,
    /// Connections that were due at the rate, but exceeded the concurrency; not included in started.
    not_started: u64,
}

#[derive(Serialize, JsonSchema)]
struct Verdict {
    #[serde(rename = "verdict")]
    outcome: Outcome,
    /// The cause, if the connection's own bits show it.
    cause: Option<Cause>,
    /// The number of connections.
    #[schemars(range(min = 1))]
    count: u64,
}

#[derive(Serialize, JsonSchema)]
struct Times {
    /// Time to the first byte of the reply; if no reply is expected, to the end of the handshake.
    first_byte: Option<Percentiles>,
    /// Time to the first byte, of connections whose SYN data was acknowledged.
    first_byte_fast_open: Option<Percentiles>,
    /// Time to the first byte, of all other connections.
    first_byte_others: Option<Percentiles>,
    /// Time to the end of the reply.
    reply: Option<Percentiles>,
    /// Time from when a connection was due to its start. Null without a rate.
    late_start: Option<Percentiles>,
}

/// Times in µs, exact to three digits.
#[derive(Serialize, JsonSchema)]
struct Percentiles {
    /// The number of measured times.
    #[schemars(range(min = 1))]
    count: u64,
    /// The minimum.
    min: Micros,
    /// The mean.
    mean: Micros,
    /// The median.
    p50: Micros,
    /// The 90th percentile.
    p90: Micros,
    /// The 95th percentile.
    p95: Micros,
    /// The 99th percentile.
    p99: Micros,
    /// The 99.9th percentile.
    p99_9: Micros,
    /// The 99.99th percentile.
    p99_99: Micros,
    /// The maximum.
    max: Micros,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Micros(#[schemars(range(min = 0))] f64);

#[derive(Serialize, JsonSchema)]
struct Cpu {
    /// User and system time.
    total: Micros,
    /// Time in this program's own code.
    user: Micros,
    /// Time in the kernel, on behalf of this program.
    system: Micros,
}

#[derive(Serialize, JsonSchema)]
struct Limits {
    /// The limit of --fail-under, in replies per second.
    #[schemars(range(min = 1))]
    fail_under: Option<u32>,
    /// Whether the rate of replies reached fail_under.
    rate_met: Option<bool>,
    /// The limit of --max-p99, in µs.
    max_p99_us: Option<Micros>,
    /// Whether the 99th percentile of the time to the first byte is at most max_p99_us. A connection without a
    /// reply counts as slower than any other.
    p99_met: Option<bool>,
}

pub(super) fn document(results: &Results<'_>) -> String {
    output::json(&LoadDocument {
        schema: 1,
        target: Target {
            host: results.host.to_owned(),
            address: Some(results.address.to_string()),
        },
        error: None,
        load: Some(load(results)),
    })
}

/// Returns the document for a host that has no address.
pub(super) fn unresolved(host: &str, error: &Failure) -> String {
    output::json(&LoadDocument {
        schema: 1,
        target: Target { host: host.to_owned(), address: None },
        error: Some(error.to_string()),
        load: None,
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
        duration_s: match load.length {
            RunLength::Time(time) => Some(time.as_secs_f64()),
            RunLength::Count(_) => None,
        },
        count: match load.length {
            RunLength::Time(_) => None,
            RunLength::Count(count) => Some(count),
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
