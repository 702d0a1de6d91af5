//! One packet in words, and the memory that some of the words need.

use std::collections::HashMap;
use std::fmt;

use super::frame::{Endpoints, FastOpenFact, Frame, Segment};
use crate::wire::FastOpenKind;

/// The number of connections that a [`Describer`] remembers before it starts over.
const MAX_REMEMBERED: usize = 1 << 14;

/// A packet in words: its flags, its fast open option, its data.
///
/// Displayed, for example: `SYN, TFO request` · `SYN, cookie 8 B, 19 B of data in the SYN` ·
/// `SYN-ACK, acks the data` · `SYN again` · `506 B of data` · `ICMP port unreachable`. `(exp.)` marks
/// the experimental option 254.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    frame: Frame,
    again: bool,
    acks: Option<Acks>,
}

/// What a SYN-ACK acknowledges of a SYN that had data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acks {
    Syn,
    Part { bytes: usize, of: usize },
    Data,
}

/// Describes a frame by itself. Only a [`Describer`] can say what needs the packets before it: whether the frame is
/// repeated, and whether it acknowledges the SYN's data.
///
/// The frame begins with its Ethernet header. Any bytes get a description.
#[must_use]
pub fn describe(frame: &[u8]) -> Description {
    Description { frame: Frame::parse(frame), again: false, acks: None }
}

impl Description {
    /// Returns the number of bytes of data in the packet, if it opens a connection.
    #[must_use]
    pub fn syn_data(&self) -> usize {
        self.segment().filter(|segment| segment.opens()).map_or(0, |segment| segment.payload)
    }

    /// Returns whether the packet is a SYN-ACK that acknowledges all of the SYN's data.
    #[must_use]
    pub(crate) fn acks_syn_data(&self) -> bool {
        self.acks == Some(Acks::Data)
    }

    /// Returns whether the packet is a reset or an ICMP error.
    #[must_use]
    pub(crate) fn is_refusal(&self) -> bool {
        match &self.frame {
            Frame::Tcp(segment) => segment.flags.rst(),
            Frame::Other(other) => other.error,
        }
    }

    /// Returns whether the packet is an acknowledgment and nothing else.
    #[must_use]
    pub(crate) fn is_bare_ack(&self) -> bool {
        self.segment().is_some_and(|segment| {
            let flags = segment.flags;
            segment.payload == 0 && !(flags.syn() || flags.fin() || flags.rst())
        })
    }

    /// Returns the number of bytes of data in a TCP segment; 0 for anything else.
    #[must_use]
    pub fn payload(&self) -> usize {
        self.segment().map_or(0, |segment| segment.payload)
    }

    /// Returns whether both are a SYN-ACK, a SYN, … with the same option and the same length of data.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        self.alone().to_string() == other.alone().to_string()
    }

    /// Returns the description without what follows from earlier packets.
    pub(super) fn alone(&self) -> Self {
        Self { again: false, acks: None, ..self.clone() }
    }

    /// Returns the description with the acknowledgment of the SYN's data as another host saw it.
    pub(super) fn with_acks_of(mut self, other: &Self) -> Self {
        self.acks = other.acks;
        self
    }

    fn segment(&self) -> Option<&Segment> {
        match &self.frame {
            Frame::Tcp(segment) => Some(segment),
            Frame::Other(_) => None,
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = match &self.frame {
            Frame::Tcp(segment) => segment,
            Frame::Other(other) => return f.write_str(&other.words),
        };
        let again = if self.again { " again" } else { "" };
        let mut parts = Vec::new();
        if let Some(flags) = flags(segment) {
            parts.push(format!("{flags}{again}"));
        }
        if let Some(option) = segment.fast_open {
            parts.push(option_words(option, segment.opens()));
        } else if segment.opens() && segment.payload > 0 {
            parts.push("no cookie".to_owned());
        }
        match (segment.payload, segment.opens()) {
            (0, _) => {}
            (bytes, true) => parts.push(format!("{bytes} B of data in the SYN")),
            (bytes, false) if parts.is_empty() => parts.push(format!("{bytes} B of data{again}")),
            (bytes, false) => parts.push(format!("{bytes} B of data")),
        }
        match self.acks {
            None => {}
            Some(Acks::Data) => parts.push("acks the data".to_owned()),
            Some(Acks::Syn) => parts.push("acks the SYN only".to_owned()),
            Some(Acks::Part { bytes, of }) => parts.push(format!("acks {bytes} of {of} B")),
        }
        f.write_str(&parts.join(", "))
    }
}

/// Returns the flags to show; `None` for a segment that only carries data.
fn flags(segment: &Segment) -> Option<&'static str> {
    let flags = segment.flags;
    let words = match (flags.syn(), flags.fin(), flags.rst(), flags.ack()) {
        (true, true, ..) => "SYN-FIN",
        (true, _, true, _) => "SYN-RST",
        (true, _, _, true) => "SYN-ACK",
        (true, ..) => "SYN",
        (_, true, true, _) => "FIN-RST",
        (_, true, _, true) => "FIN-ACK",
        (_, true, ..) => "FIN",
        (_, _, true, true) => "RST-ACK",
        (_, _, true, _) => "RST",
        _ if segment.payload > 0 => return None,
        (_, _, _, true) => "ACK",
        _ => "no flags",
    };
    Some(words)
}

fn option_words(option: FastOpenFact, opens: bool) -> String {
    let words = match option.cookie {
        0 if opens => "TFO request".to_owned(),
        0 => "empty cookie".to_owned(),
        bytes => format!("cookie {bytes} B"),
    };
    match option.kind {
        FastOpenKind::Standard => words,
        FastOpenKind::Experimental => format!("{words} (exp.)"),
    }
}

/// Describes the frames that pass one place, in the order of time. Remembers what later frames need: a SYN's data
/// until its SYN-ACK, and the sequence numbers that were sent.
///
/// ```
/// use tfo_core::capture::Describer;
///
/// let mut describer = Describer::new();
/// let arp_request = [
///     [0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 1], &[0x08, 0x06], &[0, 1, 8, 0, 6, 4, 0, 1], &[0; 20],
/// ];
/// assert_eq!(describer.describe(&arp_request.concat()).to_string(), "ARP request");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Describer {
    connections: HashMap<Endpoints, Connection>,
}

#[derive(Debug, Clone, Default)]
struct Connection {
    syn: Option<Syn>,
    /// The sequence number after the last one that was sent, by sender.
    sent: HashMap<std::net::SocketAddr, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Syn {
    sequence: u32,
    payload: usize,
}

impl Describer {
    /// Creates a describer that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Describes the next frame, which begins with its Ethernet header. Any bytes get a description.
    pub fn describe(&mut self, frame: &[u8]) -> Description {
        let mut description = describe(frame);
        if let Frame::Tcp(segment) = &description.frame {
            if self.connections.len() >= MAX_REMEMBERED {
                self.connections.clear();
            }
            let connection = self.connections.entry(segment.endpoints.canonical()).or_default();
            (description.again, description.acks) = connection.see(segment);
        }
        description
    }
}

impl Connection {
    fn see(&mut self, segment: &Segment) -> (bool, Option<Acks>) {
        if segment.opens() {
            match &mut self.syn {
                Some(syn) if syn.sequence == segment.sequence => {
                    syn.payload = syn.payload.max(segment.payload);
                }
                _ => {
                    self.sent.clear();
                    let Segment { sequence, payload, .. } = *segment;
                    self.syn = Some(Syn { sequence, payload });
                }
            }
        }
        (self.is_again(segment), self.acks(segment))
    }

    /// Returns whether all sequence numbers of the segment were sent before.
    fn is_again(&mut self, segment: &Segment) -> bool {
        let span = segment.span();
        if span == 0 || segment.flags.rst() {
            return false;
        }
        let end = segment.sequence.wrapping_add(span);
        let known = self.sent.get(&segment.endpoints.source).copied();
        // A distance of less than half the sequence numbers is ahead (RFC 9293, section 3.4).
        let ahead = known.is_none_or(|known| {
            let distance = end.wrapping_sub(known);
            distance != 0 && distance < 1 << 31
        });
        if ahead {
            self.sent.insert(segment.endpoints.source, end);
        }
        !ahead
    }

    fn acks(&self, segment: &Segment) -> Option<Acks> {
        let syn = self.syn.filter(|syn| syn.payload > 0)?;
        if !(segment.flags.syn() && segment.flags.ack()) {
            return None;
        }
        let after_syn = segment.acknowledgment.wrapping_sub(syn.sequence).checked_sub(1)?;
        match usize::try_from(after_syn).ok()? {
            0 => Some(Acks::Syn),
            bytes if bytes == syn.payload => Some(Acks::Data),
            bytes if bytes < syn.payload => Some(Acks::Part { bytes, of: syn.payload }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{self, Host, SERVER_ISN, Wire, flag};
    use super::*;

    const ISN: u32 = fixture::CLIENT_ISN;

    fn all(frames: &[Vec<u8>]) -> Vec<String> {
        let mut describer = Describer::new();
        frames.iter().map(|frame| describer.describe(frame).to_string()).collect()
    }

    #[test]
    fn fast_open_connection_is_described_packet_by_packet() {
        for wire in [Wire::v4(), Wire::v6()] {
            let words = all(&[
                wire.syn(&fixture::COOKIE, 64),
                wire.syn_ack(&[], ISN + 65),
                wire.tcp(Host::Server, flag::PSH_ACK, SERVER_ISN + 1, ISN + 65, &[], 506),
                wire.tcp(Host::Client, flag::ACK, ISN + 65, SERVER_ISN + 507, &[], 0),
                wire.tcp(Host::Client, flag::FIN_ACK, ISN + 65, SERVER_ISN + 507, &[], 0),
                wire.tcp(Host::Server, flag::RST, SERVER_ISN + 507, 0, &[], 0),
            ]);
            assert_eq!(
                words,
                [
                    "SYN, cookie 8 B, 64 B of data in the SYN",
                    "SYN-ACK, acks the data",
                    "506 B of data",
                    "ACK",
                    "FIN-ACK",
                    "RST",
                ]
            );
        }
    }

    #[test]
    fn fast_open_options_are_distinguished() {
        let wire = Wire::v4();
        let words = all(&[
            wire.syn(&fixture::REQUEST, 0),
            wire.syn_ack(&fixture::COOKIE, ISN + 1),
            Wire::v4().port(2).syn(&fixture::EXPERIMENTAL_REQUEST, 0),
            Wire::v4().port(3).syn(&fixture::EXPERIMENTAL_COOKIE, 19),
            Wire::v4().port(4).syn(&[], 19),
        ]);
        assert_eq!(
            words,
            [
                "SYN, TFO request",
                "SYN-ACK, cookie 8 B",
                "SYN, TFO request (exp.)",
                "SYN, cookie 8 B (exp.), 19 B of data in the SYN",
                "SYN, no cookie, 19 B of data in the SYN",
            ]
        );
    }

    #[test]
    fn syn_ack_shows_how_much_syn_data_it_acknowledges() {
        let wire = Wire::v6();
        for (ack, words) in [
            (ISN, "SYN-ACK"),
            (ISN + 1, "SYN-ACK, acks the SYN only"),
            (ISN + 11, "SYN-ACK, acks 10 of 64 B"),
            (ISN + 65, "SYN-ACK, acks the data"),
            (ISN + 66, "SYN-ACK"),
        ] {
            let told = all(&[wire.syn(&fixture::COOKIE, 64), wire.syn_ack(&[], ack)]);
            assert_eq!(told[1], words);
        }
        let empty = all(&[wire.syn(&fixture::REQUEST, 0), wire.syn_ack(&[], ISN + 1)]);
        assert_eq!(empty[1], "SYN-ACK", "there was no data to acknowledge");
    }

    #[test]
    fn retransmissions_are_described_as_again() {
        let wire = Wire::v4();
        let words = all(&[
            wire.syn(&fixture::COOKIE, 64),
            wire.syn(&[], 0),
            wire.syn_ack(&[], ISN + 1),
            wire.syn_ack(&[], ISN + 1),
            wire.tcp(Host::Client, flag::PSH_ACK, ISN + 1, SERVER_ISN + 1, &[], 64),
            wire.tcp(Host::Client, flag::PSH_ACK, ISN + 65, SERVER_ISN + 1, &[], 5),
        ]);
        assert_eq!(words[1], "SYN again");
        assert_eq!(words[3], "SYN-ACK again, acks the SYN only");
        assert_eq!(words[4], "64 B of data again", "its bytes were in the first SYN");
        assert_eq!(words[5], "5 B of data");
    }

    #[test]
    fn sequence_numbers_may_wrap() {
        let wire = Wire::v4().isn(u32::MAX - 10);
        let words = all(&[
            wire.syn(&fixture::COOKIE, 64),
            wire.syn_ack(&[], 54),
            wire.tcp(Host::Client, flag::ACK, 54, SERVER_ISN + 1, &[], 5),
            wire.tcp(Host::Client, flag::ACK, 54, SERVER_ISN + 1, &[], 5),
        ]);
        assert_eq!(words[1..], ["SYN-ACK, acks the data", "5 B of data", "5 B of data again"]);
    }

    #[test]
    fn new_syn_between_the_same_ports_resets_the_describer() {
        let wire = Wire::v4();
        let words = all(&[
            wire.syn(&fixture::COOKIE, 64),
            wire.isn(ISN - 1000).syn(&fixture::REQUEST, 0),
            wire.syn_ack(&[], ISN - 999),
        ]);
        assert_eq!(words[1..], ["SYN, TFO request", "SYN-ACK"]);
    }

    #[test]
    fn packets_other_than_tcp_are_described() {
        let icmp = fixture::icmp_port_unreachable();
        assert_eq!(describe(&icmp).to_string(), "ICMP port unreachable");
        assert!(describe(&icmp).is_refusal());
        assert_eq!(describe(&[]).to_string(), "frame of 0 B");
        let mut other = vec![0; 20];
        other[12..14].copy_from_slice(&[0x88, 0xcc]);
        assert_eq!(describe(&other).to_string(), "Ethernet type 0x88cc, 6 B");
        let mut vlan = Wire::v4().syn(&fixture::REQUEST, 0);
        vlan.splice(12..12, [0x81, 0x00, 0, 7]);
        assert_eq!(describe(&vlan).to_string(), "SYN, TFO request");
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_description(frames in proptest::collection::vec(fixture::any_frame(), 0..20)) {
            let mut describer = Describer::new();
            for frame in &frames {
                let description = describer.describe(frame);
                prop_assert!(!description.to_string().is_empty());
                prop_assert!(!description.alone().again);
                let _ = (description.payload(), description.syn_data(), description.acks_syn_data());
            }
        }
    }
}
