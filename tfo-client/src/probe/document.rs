//! The JSON document: `schema.json` describes it.

use std::time::Duration;

use serde::Serialize;
use tfo_core::diagnosis::{Balance, Evidence, Summary, Verdict};

use super::connection::ProbedConnection;
use super::results::Results;
use crate::output;

#[derive(Serialize)]
struct ProbeDocument<'a> {
    schema: u32,
    target: Target<'a>,
    connections: Vec<ConnectionEntry<'a>>,
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
}

#[derive(Serialize)]
struct Target<'a> {
    host: &'a str,
    address: String,
    mirror: bool,
}

#[derive(Serialize)]
pub(crate) struct ConnectionEntry<'a> {
    n: u32,
    #[serde(flatten)]
    verdict: &'a Verdict,
    sent_bytes: usize,
    syn_bytes: usize,
    syn_data_acked: bool,
    connect_us: Option<u64>,
    first_byte_us: Option<u64>,
    rtt_us: Option<u64>,
    evidence: &'a Evidence,
}

pub(super) fn document(results: &Results) -> String {
    let connections = &results.connections;
    output::json(&ProbeDocument {
        schema: 1,
        target: Target {
            host: &results.host,
            address: results.address.to_string(),
            mirror: connections.iter().any(|connection| connection.mirrored),
        },
        connections: connections.iter().map(entry).collect(),
        summary: results.summary(),
        balance: results.balance(),
    })
}

pub(crate) fn entry(connection: &ProbedConnection) -> ConnectionEntry<'_> {
    ConnectionEntry {
        n: connection.n,
        verdict: &connection.verdict,
        sent_bytes: connection.message_bytes,
        syn_bytes: connection.syn_bytes(),
        syn_data_acked: connection.syn_data_acked(),
        connect_us: micros(connection.timing.connect),
        first_byte_us: micros(connection.timing.first_byte),
        rtt_us: micros(connection.timing.rtt),
        evidence: &connection.evidence,
    }
}

fn micros(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
