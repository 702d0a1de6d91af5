//! The JSON document: `schema/probe.json` describes it.

#![allow(clippy::doc_markdown, reason = "the comments are the descriptions of the schema")]

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::{self, Balance, ClientEvidence, ServerEvidence, Summary, Verdict};

use super::connection::ProbedConnection;
use super::results::Results;
use crate::output::{self, Failure};
use crate::schema;

/// What `tfo-client [probe] -o json` prints: one document for one run.
#[derive(Serialize, JsonSchema)]
#[schemars(
    title = "tfo-client probe",
    extend("if" = { "required": ["error"] }),
    extend("else" = { "patternProperties": { "^connections$": { "minItems": 1 } } })
)]
pub(crate) struct ProbeDocument<'a> {
    /// The version of this format. A field may be added to it, none changes or goes.
    #[schemars(extend("const" = 1))]
    schema: u32,
    /// Where the connections went.
    target: Target<'a>,
    /// Why there is no connection, if the host could not be resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    error: Option<String>,
    /// The connections, in the order in which they were made. Empty only if the host could not be
    /// resolved.
    connections: Vec<ConnectionEntry<'a>>,
    /// What they amount to: verdict, cause, blame and candidates of the last one, finding and advice of all.
    summary: Summary,
    /// With --balance: how many keys answer behind the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Balance")]
    balance: Option<Balance>,
}

/// Where the connections went.
#[derive(Serialize, JsonSchema)]
struct Target<'a> {
    /// The host as it was given.
    #[schemars(length(min = 1))]
    host: &'a str,
    /// The address and port that it stands for; null if the host could not be resolved.
    #[schemars(with = "Option<SocketAddr>", extend("pattern" = schema::ADDRESS))]
    address: Option<String>,
    /// Whether a mirror (tfo-server) told what it saw.
    mirror: bool,
}

/// One connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectionEntry<'a> {
    /// Its number, from 1.
    #[schemars(range(min = 1))]
    n: u32,
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// The bytes of the first message.
    sent_bytes: usize,
    /// How many of them the SYN took along.
    syn_bytes: usize,
    /// TCPI_OPT_SYN_DATA: the SYN-ACK acknowledged data of the SYN.
    syn_data_acked: bool,
    /// Until the handshake had ended and the kernel held the message; null without a connection.
    connect_us: Option<u64>,
    /// Until the first byte of the answer; null without one.
    first_byte_us: Option<u64>,
    /// TCP's smoothed round trip time; null where a retransmission spoiled it.
    rtt_us: Option<u64>,
    /// What both ends saw.
    evidence: EvidenceEntry<'a>,
}

/// What both ends saw.
#[derive(Serialize, JsonSchema)]
struct EvidenceEntry<'a> {
    /// The client's half is always there.
    #[schemars(with = "ClientEvidence")]
    client: Option<&'a ClientEvidence>,
    /// Null where no mirror answered.
    server: Option<&'a ServerEvidence>,
}

pub(super) fn document(results: &Results) -> String {
    let connections = &results.connections;
    output::json(&ProbeDocument {
        schema: 1,
        target: Target {
            host: &results.host,
            address: Some(results.address.to_string()),
            mirror: connections.iter().any(|connection| connection.mirrored),
        },
        error: None,
        connections: connections.iter().map(entry).collect(),
        summary: results.summary(),
        balance: results.balance(),
    })
}

/// The document about a host without an address.
pub(super) fn unresolved(host: &str, error: &Failure) -> String {
    let mut summary = diagnosis::summarize(&[]);
    summary.verdict.finding = format!("{error}.");
    "Check the name and this host's resolver, or give an address."
        .clone_into(&mut summary.verdict.advice);
    output::json(&ProbeDocument {
        schema: 1,
        target: Target { host, address: None, mirror: false },
        error: Some(error.to_string()),
        connections: Vec::new(),
        summary,
        balance: None,
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
        evidence: EvidenceEntry {
            client: connection.evidence.client.as_ref(),
            server: connection.evidence.server.as_ref(),
        },
    }
}

fn micros(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
