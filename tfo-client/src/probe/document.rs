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

/// The output of `tfo-client [probe] -o json`: one document for one run.
#[derive(Serialize, JsonSchema)]
#[schemars(
    title = "tfo-client probe",
    extend("if" = { "required": ["error"] }),
    extend("else" = { "patternProperties": { "^connections$": { "minItems": 1 } } })
)]
pub(crate) struct ProbeDocument<'a> {
    /// The version of this format. Fields may be added within a version, but never change or disappear.
    #[schemars(extend("const" = 1))]
    schema: u32,
    /// The server that was probed.
    target: Target<'a>,
    /// Why there is no connection, if the host could not be resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    error: Option<String>,
    /// The connections, in the order in which they were made. Empty only if the host could not be
    /// resolved.
    connections: Vec<ConnectionEntry<'a>>,
    /// The summary: verdict, cause, blame and candidates of the last connection, finding and advice for all.
    summary: Summary,
    /// With --all-addresses: each address of the host, in the order in which they were probed. The summary above is then
    /// that of the first address with the worst outcome.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<AddressEntry>,
    /// With --balance: the number of keys behind the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Balance")]
    balance: Option<Balance>,
}

/// The server that was probed.
#[derive(Serialize, JsonSchema)]
struct Target<'a> {
    /// The host as given by the user.
    #[schemars(length(min = 1))]
    host: &'a str,
    /// The address and port that the connections were made to, with --all-addresses the first of them; null if the host
    /// could not be resolved.
    #[schemars(with = "Option<SocketAddr>", extend("pattern" = schema::ADDRESS))]
    address: Option<String>,
    /// Whether a mirror (tfo-server) sent its half of the evidence.
    mirror: bool,
}

/// One address of the host.
#[derive(Serialize, JsonSchema)]
struct AddressEntry {
    /// The address and port that the connections were made to.
    #[schemars(with = "SocketAddr", extend("pattern" = schema::ADDRESS))]
    address: String,
    /// Whether a mirror (tfo-server) sent its half of the evidence.
    mirror: bool,
    /// The summary of the connections to this address.
    summary: Summary,
    /// With --balance: the number of keys behind the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Balance")]
    balance: Option<Balance>,
}

/// One connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectionEntry<'a> {
    /// The connection's number, from 1.
    #[schemars(range(min = 1))]
    n: u32,
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// The size of the first message, in bytes.
    sent_bytes: usize,
    /// The number of its bytes that were sent in the SYN.
    syn_bytes: usize,
    /// TCPI_OPT_SYN_DATA: the SYN-ACK acknowledged data of the SYN.
    syn_data_acked: bool,
    /// Time until the handshake completed and the kernel accepted the message; null without a connection.
    connect_us: Option<u64>,
    /// Time until the first byte of the answer; null without an answer.
    first_byte_us: Option<u64>,
    /// TCP's smoothed round trip time; null if a retransmission made it unusable.
    rtt_us: Option<u64>,
    /// The evidence of both ends.
    evidence: EvidenceEntry<'a>,
}

/// The evidence of both ends.
#[derive(Serialize, JsonSchema)]
struct EvidenceEntry<'a> {
    /// The client's half, which is always present.
    #[schemars(with = "ClientEvidence")]
    client: Option<&'a ClientEvidence>,
    /// The server's half; null if no mirror answered.
    server: Option<&'a ServerEvidence>,
}

pub(super) fn document(results: &Results) -> String {
    output::json(&about(results))
}

/// The document about all addresses of a host, of which `first` is the first.
pub(super) fn all_addresses(first: &Results, all: &[Results]) -> String {
    let addresses = all.iter().map(|results| AddressEntry {
        address: results.address.to_string(),
        mirror: results.is_mirrored(),
        summary: results.summary(),
        balance: results.balance(),
    });
    let worst = all.iter().rev().max_by_key(|results| results.status()).unwrap_or(first);
    let connections = all.iter().flat_map(|results| &results.connections);
    output::json(&ProbeDocument {
        connections: connections.map(entry).collect(),
        summary: worst.summary(),
        addresses: addresses.collect(),
        balance: None,
        ..about(first)
    })
}

fn about(results: &Results) -> ProbeDocument<'_> {
    ProbeDocument {
        schema: 1,
        target: Target {
            host: &results.host,
            address: Some(results.address.to_string()),
            mirror: results.is_mirrored(),
        },
        error: None,
        connections: results.connections.iter().map(entry).collect(),
        summary: results.summary(),
        addresses: Vec::new(),
        balance: results.balance(),
    }
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
        addresses: Vec::new(),
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
