//! The JSON document.

use std::time::Duration;

use serde::Serialize;
use tfo_core::capture::{Delivery, Direction, PacketPath, describe};
use tfo_core::diagnosis::Summary;

use super::observed::Observed;
use super::results::{LabConnection, Results, Saved};
use crate::output;
use crate::probe::{self, ConnectionEntry};

#[derive(Serialize)]
struct LabDocument<'a> {
    schema: u32,
    lab: Lab<'a>,
    connections: Vec<Connection<'a>>,
    summary: Option<Summary>,
    saved: Option<Saved>,
}

#[derive(Serialize)]
struct Lab<'a> {
    rtt_us: u64,
    jitter_us: u64,
    loss: f64,
    boxes: Vec<&'a str>,
    hops: usize,
    rules: Vec<String>,
    servers: usize,
    server: String,
}

#[derive(Serialize)]
struct Connection<'a> {
    title: &'a str,
    #[serde(flatten)]
    probed: Option<ConnectionEntry<'a>>,
    #[serde(flatten)]
    observed: Option<&'a Observed>,
    packets: Vec<Packet>,
}

#[derive(Serialize)]
struct Packet {
    direction: Direction,
    /// Time since the connection's first packet. Both hosts share one clock.
    sent_us: Option<u64>,
    arrived_us: Option<u64>,
    dropped: bool,
    /// The packet in words.
    what: String,
    bytes: usize,
    #[serde(rename = "deeds")]
    modifications: Vec<String>,
}

pub(super) fn document(results: &Results) -> String {
    let network = &results.network;
    output::json(&LabDocument {
        schema: 1,
        lab: Lab {
            rtt_us: micros(network.rtt),
            jitter_us: micros(network.jitter),
            loss: network.loss,
            boxes: network.boxes.iter().map(|middlebox| middlebox.name()).collect(),
            hops: network.hops.len(),
            rules: network.rules.iter().map(ToString::to_string).collect(),
            servers: network.servers,
            server: results.address.to_string(),
        },
        connections: results.connections.iter().map(connection).collect(),
        summary: results.summary(),
        saved: results.saved(),
    })
}

fn connection(connection: &LabConnection) -> Connection<'_> {
    let sightings = connection.packets.iter().flat_map(|packet| [&packet.sent, &packet.arrived]);
    let start = sightings.flatten().map(|sighting| sighting.at).min().unwrap_or_default();
    Connection {
        title: &connection.title,
        probed: connection.probed.as_ref().map(probe::entry),
        observed: connection.observed.as_ref(),
        packets: connection.packets.iter().map(|path| packet(path, start)).collect(),
    }
}

fn packet(packet: &PacketPath, start: Duration) -> Packet {
    let since = |at: Duration| micros(at.saturating_sub(start));
    let sighting = packet.sent.as_ref().or(packet.arrived.as_ref());
    Packet {
        direction: packet.direction,
        sent_us: packet.sent.as_ref().map(|sighting| since(sighting.at)),
        arrived_us: packet.arrived.as_ref().map(|sighting| since(sighting.at)),
        dropped: packet.delivery == Delivery::Dropped,
        what: sighting.map(|sighting| describe(&sighting.frame).to_string()).unwrap_or_default(),
        bytes: sighting.map_or(0, |sighting| sighting.frame.len()),
        modifications: packet
            .modifications
            .iter()
            .map(|change| format!("{}: {}", change.by, change.what))
            .collect(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
