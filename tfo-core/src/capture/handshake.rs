//! The handshake of a connection, as the packets of its client show it.

use super::frame::{Frame, Segment};
use super::{Direction, PacketPath};

/// The handshake of a connection: what the client sent and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handshake {
    /// The number of SYNs that the client sent before a SYN-ACK arrived.
    pub syns: usize,
    /// The bytes of data in the first SYN.
    pub syn_data: usize,
    /// The length of the cookie in the first SYN: 0 asks for one. `None`: the SYN has no fast open option.
    pub cookie: Option<usize>,
    /// The first SYN-ACK that arrived.
    pub syn_ack: Option<SynAck>,
    /// Whether a reset arrived instead of a SYN-ACK.
    pub refused: bool,
    /// Whether data of the server arrived.
    pub answered: bool,
}

/// The parts of a SYN-ACK that concern fast open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SynAck {
    /// The bytes of the SYN's data that it acknowledges.
    pub acknowledged: usize,
    /// Whether it brings a cookie.
    pub cookie: bool,
}

impl Handshake {
    /// Reads the packets of one connection, as [`connections`](super::connections) groups them. `None`: the client's
    /// first SYN is not among them.
    #[must_use]
    pub fn of(packets: &[PacketPath]) -> Option<Self> {
        let mut at_client: Vec<_> = packets.iter().filter_map(seen_by_client).collect();
        at_client.sort_by_key(|(at, ..)| *at);
        let mut segments =
            at_client.into_iter().map(|(_, direction, segment)| (direction, segment));
        let first = segments
            .find(|(direction, segment)| *direction == Direction::ToServer && segment.opens())
            .map(|(_, segment)| segment)?;
        let cookie = |segment: &Segment| segment.fast_open.map(|option| option.cookie);
        let mut handshake = Self {
            syns: 1,
            syn_data: first.payload,
            cookie: cookie(&first),
            syn_ack: None,
            refused: false,
            answered: false,
        };
        for (direction, segment) in segments {
            let flags = segment.flags;
            let pending = handshake.syn_ack.is_none() && !handshake.refused;
            if direction == Direction::ToServer {
                handshake.syns += usize::from(pending && segment.opens());
            } else if pending && flags.syn() && flags.ack() {
                let after_syn = segment.acknowledgment.wrapping_sub(first.sequence).wrapping_sub(1);
                handshake.syn_ack = Some(SynAck {
                    acknowledged: usize::try_from(after_syn).unwrap_or(0).min(first.payload),
                    cookie: cookie(&segment) > Some(0),
                });
            } else if pending && flags.rst() {
                handshake.refused = true;
            } else {
                handshake.answered |= segment.payload > 0;
            }
        }
        Some(handshake)
    }
}

fn seen_by_client(packet: &PacketPath) -> Option<(std::time::Duration, Direction, Segment)> {
    let sighting = match packet.direction {
        Direction::ToServer => packet.sent.as_ref(),
        Direction::ToClient => packet.arrived.as_ref(),
    }?;
    match Frame::parse(&sighting.frame) {
        Frame::Tcp(segment) => Some((sighting.at, packet.direction, segment)),
        Frame::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, Wire};
    use super::*;

    #[test]
    fn handshake_is_read_as_the_client_saw_it() {
        let of = |packets: &[PacketPath]| Handshake::of(packets).unwrap();
        let fast_open = of(&fixture::fast_open(Wire::v4()));
        assert_eq!((fast_open.syns, fast_open.syn_data, fast_open.cookie), (1, 64, Some(8)));
        assert_eq!(fast_open.syn_ack, Some(SynAck { acknowledged: 64, cookie: false }));
        assert!(fast_open.answered && !fast_open.refused);

        let granted = of(&fixture::cookie_granted());
        assert!(granted.cookie == Some(0) && granted.syn_ack.unwrap().cookie);

        let dropped = of(&fixture::syn_data_dropped());
        assert_eq!((dropped.syns, dropped.syn_data), (2, 64));
        assert_eq!(dropped.syn_ack.unwrap().acknowledged, 0);

        let stripped = of(&fixture::stripped());
        assert_eq!(stripped.syn_ack.unwrap().acknowledged, 0, "the client sent the data");

        let reset = of(&fixture::reset());
        assert!(reset.refused && reset.syn_ack.is_none() && !reset.answered);

        let regular = of(&fixture::regular());
        assert!(regular.cookie.is_none() && regular.syn_data == 0);
        assert_eq!(Handshake::of(&[]), None);
    }
}
