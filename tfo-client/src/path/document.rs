//! The JSON document: `schema/path.json` describes it.

#![allow(clippy::doc_markdown, reason = "the comments are the descriptions of the schema")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tfo_core::diagnosis::Verdict;
use tfo_core::path::{Fault, SynKind};

use super::result::Exploration;
use super::{finding, text};
use crate::output::Failure;
use crate::{output, schema};

/// What `tfo-client path -o json` prints.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "tfo-client path")]
pub(crate) struct PathDocument<'a> {
    /// The version of this format. A field may be added to it, none changes or goes.
    #[schemars(extend("const" = 1))]
    schema: u32,
    /// Where the SYNs went.
    target: Target<'a>,
    /// Why there is no address to send to. Absent if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    error: Option<String>,
    /// Where they came from; null if none were sent because the target has no address.
    #[schemars(with = "Option<SocketAddr>", extend("pattern" = schema::ADDRESS))]
    source: Option<String>,
    /// Whether data was allowed to reach the target.
    data_to_target: bool,
    /// Whether it ended before it was complete.
    interrupted: bool,
    /// Whether hops answer by ICMP.
    icmp: bool,
    /// The smallest TTL at which a regular SYN was answered by TCP; null where none was.
    distance: Option<u8>,
    /// The hop at which somebody else than the target answers TCP in its name; null where nobody does.
    proxy: Option<u8>,
    /// The first hop at which different routers answered; null where none did.
    unstable_hop: Option<u8>,
    /// The verdict on the last connection from end to end; null where none with data was made.
    end_to_end: Option<&'a Verdict>,
    /// Whether the target granted a cookie to a request without data; null where that was not tried.
    cookie_granted: Option<bool>,
    /// The hops, from the first one on; the last is the target where it answers.
    hops: Vec<HopEntry>,
    /// What breaks fast open, from the first hop to the last.
    faults: &'a [Fault],
    /// What is different on the way, and does no harm.
    changes: &'a [Fault],
    /// What was found, in sentences.
    #[schemars(length(min = 1))]
    finding: Vec<String>,
    /// What to do about it; empty if there is nothing to do.
    advice: Vec<String>,
    /// How many SYNs were sent.
    syns: usize,
    /// How long it took.
    took_us: u64,
}

/// Where the SYNs went.
#[derive(Serialize, JsonSchema)]
struct Target<'a> {
    /// The host as it was given.
    #[schemars(length(min = 1))]
    host: &'a str,
    /// The address and port that it stands for; null if there is none.
    #[schemars(with = "Option<SocketAddr>", extend("pattern" = schema::ADDRESS))]
    address: Option<String>,
    /// Whether a mirror (tfo-server) told what it saw.
    mirror: bool,
}

/// One hop.
#[derive(Serialize, JsonSchema)]
struct HopEntry {
    /// Its number, from 1: the TTL of the SYNs that end there.
    #[schemars(range(min = 1))]
    hop: u8,
    /// Who answered there; empty if nobody did.
    addresses: Vec<IpAddr>,
    /// The shortest time until it answered; null if it did not.
    rtt_us: Option<u64>,
    /// The kinds of SYNs that were sent there.
    syns: Vec<Syns>,
}

/// SYNs of one kind at one hop.
#[derive(Serialize, JsonSchema)]
struct Syns {
    /// Their kind.
    syn: SynKind,
    /// How many were sent.
    tried: u32,
    /// How many arrived.
    passed: u32,
    /// What became of them, in one word: `ok`, `silent`, `*` (no answer to anything), `NOPs`, `removed`, `reset`.
    #[schemars(length(min = 1))]
    seen: String,
}

pub(super) fn document(found: &Exploration) -> String {
    let map = &found.map;
    let last = map.distance().unwrap_or_else(|| map.hops().last().copied().unwrap_or(0));
    output::json(&PathDocument {
        schema: 1,
        target: Target {
            host: &found.host,
            address: Some(found.address.to_string()),
            mirror: found.is_mirrored(),
        },
        error: None,
        source: Some(map.local.to_string()),
        data_to_target: found.wish.to_target,
        interrupted: map.interrupted,
        icmp: !map.hops().is_empty(),
        distance: map.distance(),
        proxy: found.conclusion.proxy,
        unstable_hop: found.conclusion.unstable,
        end_to_end: found.verdict(),
        cookie_granted: found.granted,
        hops: (1..=last).map(|number| hop(found, number)).collect(),
        faults: &found.conclusion.faults,
        changes: &found.conclusion.changes,
        finding: finding::paragraphs(found),
        advice: finding::advice(found),
        syns: map.samples.len(),
        took_us: micros(found.took),
    })
}

/// The document for a host that has no address.
pub(super) fn unresolved(host: &str, error: &Failure) -> String {
    output::json(&PathDocument {
        schema: 1,
        target: Target { host, address: None, mirror: false },
        error: Some(error.to_string()),
        source: None,
        data_to_target: false,
        interrupted: false,
        icmp: false,
        distance: None,
        proxy: None,
        unstable_hop: None,
        end_to_end: None,
        cookie_granted: None,
        hops: Vec::new(),
        faults: &[],
        changes: &[],
        finding: vec![format!("{error}.")],
        advice: Vec::new(),
        syns: 0,
        took_us: 0,
    })
}

fn hop(found: &Exploration, hop: u8) -> HopEntry {
    let map = &found.map;
    let addresses = text::addresses(map, hop);
    let syns = SynKind::ALL.into_iter().filter_map(|syn| {
        let cell = map.cell(hop, syn);
        (cell.tried > 0).then(|| Syns {
            syn,
            tried: cell.tried,
            passed: cell.passed,
            seen: text::word(&cell, syn, addresses.is_empty()),
        })
    });
    HopEntry { hop, syns: syns.collect(), rtt_us: map.round_trip(hop).map(micros), addresses }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
