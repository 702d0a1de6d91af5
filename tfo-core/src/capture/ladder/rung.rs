//! What a ladder shows of each packet, independent of text or SVG.

use std::time::Duration;

use super::super::connections::first_seen;
use super::super::{
    Delivery, Describer, Description, Direction, Modification, PacketPath, Sighting,
};

/// One in this many of the drawn packets comes after the gap.
const TAIL_SHARE: usize = 4;

/// One packet.
#[derive(Debug, Clone)]
pub(super) struct Rung {
    pub(super) direction: Direction,
    /// The time since the first packet, by the sender's clock.
    pub(super) sent: Option<Duration>,
    /// The time since the first packet, by the receiver's clock.
    pub(super) arrived: Option<Duration>,
    pub(super) label: String,
    /// The receiver's description, if the path changed the packet.
    pub(super) arrives_as: Option<Changed>,
    pub(super) reach: Reach,
    pub(super) tone: Tone,
    /// The modifications by the path, one line each.
    pub(super) notes: Vec<String>,
    pub(super) payload: usize,
    /// An acknowledgment, and nothing else.
    pub(super) bare_ack: bool,
}

/// A packet after the path changed it.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    pub(super) label: String,
    pub(super) tone: Tone,
}

/// The part of the path that a packet crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// From host to host.
    Whole,
    /// From its sender to the middle of the path.
    Dropped,
    /// From the middle of the path to the other host.
    Forged,
    /// The path created the packet and dropped it, or it is known by its modifications alone.
    Nowhere,
}

/// What the drawing emphasizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Data in a SYN, or its acknowledgment.
    FastOpen,
    /// A reset or an ICMP error.
    Refusal,
}

/// An item of a ladder, from top to bottom.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'a> {
    Rung(&'a Rung),
    Elided { packets: usize, bytes: usize },
}

impl Rung {
    /// Returns when the packet was first seen.
    pub(super) fn start(&self) -> Option<Duration> {
        self.sent.or(self.arrived)
    }

    /// Returns when the packet was last seen.
    pub(super) fn end(&self) -> Option<Duration> {
        self.sent.max(self.arrived)
    }

    /// Returns when the packet was at the client, or would have been after the usual flight.
    pub(super) fn at_client(&self, flight: Duration) -> Option<Duration> {
        match self.direction {
            Direction::ToServer => self.sent.or_else(|| Some(self.arrived?.saturating_sub(flight))),
            Direction::ToClient => self.arrived.or_else(|| Some(self.sent?.saturating_add(flight))),
        }
    }

    /// Returns how long the packet was on its way.
    pub(super) fn flight(&self) -> Option<Duration> {
        self.arrived?.checked_sub(self.sent?)
    }

    pub(super) fn to_server(&self) -> bool {
        self.direction == Direction::ToServer
    }
}

/// Returns the median time on the way of packets that were seen at both ends.
pub(super) fn flight(rungs: &[Rung]) -> Option<Duration> {
    let mut flights: Vec<Duration> = rungs.iter().filter_map(Rung::flight).collect();
    flights.sort_unstable();
    flights.get(flights.len() / 2).copied()
}

pub(super) fn rungs(packets: &[PacketPath]) -> Vec<Rung> {
    let zero = packets.iter().filter_map(first_seen).min().unwrap_or_default();
    let mut rungs: Vec<Rung> = describe_all(packets)
        .into_iter()
        .zip(packets)
        .map(|(views, packet)| rung(packet, views, zero))
        .collect();
    let flight = flight(&rungs).unwrap_or_default();
    rungs.sort_by_key(|rung| rung.at_client(flight));
    rungs
}

pub(super) fn items(rungs: &[Rung], limit: usize) -> Vec<Item<'_>> {
    // A line that replaces one packet saves nothing.
    if rungs.len() <= limit + 1 {
        return rungs.iter().map(Item::Rung).collect();
    }
    let tail = (limit / TAIL_SHARE).max(1);
    let (head, rest) = rungs.split_at(limit - tail);
    let (elided, tail) = rest.split_at(rest.len() - tail);
    let bytes = elided.iter().fold(0_usize, |sum, rung| sum.saturating_add(rung.payload));
    let elided = Item::Elided { packets: elided.len(), bytes };
    head.iter().map(Item::Rung).chain([elided]).chain(tail.iter().map(Item::Rung)).collect()
}

/// A packet as its sender and its receiver describe it.
#[derive(Debug, Clone, Default)]
struct Views {
    sender: Option<Description>,
    receiver: Option<Description>,
}

/// Describes all packets. Each host remembers the packets that passed it, in the order of its clock.
fn describe_all(packets: &[PacketPath]) -> Vec<Views> {
    let mut views = vec![Views::default(); packets.len()];
    for sender in [Direction::ToServer, Direction::ToClient] {
        let mut seen: Vec<(&Sighting, usize, bool)> = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let departs = packet.direction == sender;
            let sighting = if departs { &packet.sent } else { &packet.arrived };
            seen.extend(sighting.as_ref().map(|sighting| (sighting, index, departs)));
        }
        seen.sort_by_key(|(sighting, ..)| sighting.at);
        let mut describer = Describer::new();
        for (sighting, index, departs) in seen {
            let description = Some(describer.describe(&sighting.frame));
            if let Some(views) = views.get_mut(index) {
                *(if departs { &mut views.sender } else { &mut views.receiver }) = description;
            }
        }
    }
    views
}

fn rung(packet: &PacketPath, views: Views, zero: Duration) -> Rung {
    let since = |sighting: &Option<Sighting>| {
        sighting.as_ref().map(|sighting| sighting.at.saturating_sub(zero))
    };
    let arrives_as = match (&views.sender, &views.receiver) {
        (Some(sent), Some(arrived)) if !sent.looks_like(arrived) => {
            Some(Changed { label: arrived.alone().to_string(), tone: tone(arrived) })
        }
        _ => None,
    };
    // Whether a SYN-ACK acknowledges the data matters to the client that sent it: the path may have hidden the data
    // from the server.
    let told = match (views.sender, views.receiver) {
        (Some(sent), Some(arrived)) if packet.direction == Direction::ToClient => {
            Some(sent.with_acks_of(&arrived))
        }
        (sent, arrived) => sent.or(arrived),
    };
    Rung {
        direction: packet.direction,
        sent: since(&packet.sent),
        arrived: since(&packet.arrived),
        label: told.as_ref().map_or_else(|| "unseen".to_owned(), ToString::to_string),
        arrives_as,
        reach: reach(packet),
        tone: told.as_ref().map_or(Tone::Plain, tone),
        notes: notes(packet),
        payload: told.as_ref().map_or(0, Description::payload),
        bare_ack: told.as_ref().is_some_and(Description::is_bare_ack),
    }
}

fn reach(packet: &PacketPath) -> Reach {
    match (&packet.sent, &packet.arrived) {
        (None, None) => Reach::Nowhere,
        (Some(_), None) if packet.delivery == Delivery::Dropped => Reach::Dropped,
        (None, Some(_)) if !packet.modifications.is_empty() => Reach::Forged,
        _ => Reach::Whole,
    }
}

fn tone(description: &Description) -> Tone {
    if description.is_refusal() {
        Tone::Refusal
    } else if description.syn_data() > 0 || description.acks_syn_data() {
        Tone::FastOpen
    } else {
        Tone::Plain
    }
}

fn notes(packet: &PacketPath) -> Vec<String> {
    if packet.modifications.is_empty() && packet.delivery == Delivery::Dropped {
        return vec!["dropped".to_owned()];
    }
    let note = |modification: &Modification| match modification.what.as_str() {
        // The arrow that ends there shows it already.
        "dropped" if packet.delivery == Delivery::Dropped => modification.by.to_owned(),
        what => format!("{}: {what}", modification.by),
    };
    packet.modifications.iter().map(note).collect()
}
