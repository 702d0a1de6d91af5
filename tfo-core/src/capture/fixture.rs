//! Frames and packets for the tests of `capture`.

use std::time::Duration;

use proptest::prelude::*;

use super::{Delivery, Direction, Modification, PacketPath, Sighting};

pub(super) const CLIENT_ISN: u32 = 0x1000_0000;
pub(super) const SERVER_ISN: u32 = 0x2000_0000;
pub(super) const REQUEST: [u8; 2] = [34, 2];
pub(super) const COOKIE: [u8; 10] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
pub(super) const EXPERIMENTAL_REQUEST: [u8; 4] = [254, 4, 0xf9, 0x89];
pub(super) const EXPERIMENTAL_COOKIE: [u8; 12] = [254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8];
/// The time of the first packet: 2024-01-01.
pub(super) const START: Duration = Duration::from_secs(1_704_067_200);

pub(super) mod flag {
    pub(in super::super) const FIN_ACK: u8 = 0x11;
    pub(in super::super) const SYN: u8 = 0x02;
    pub(in super::super) const SYN_ACK: u8 = 0x12;
    pub(in super::super) const RST: u8 = 0x04;
    pub(in super::super) const RST_ACK: u8 = 0x14;
    pub(in super::super) const ACK: u8 = 0x10;
    pub(in super::super) const PSH_ACK: u8 = 0x18;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    Client,
    Server,
}

/// Builds the frames of one connection.
#[derive(Clone, Copy)]
pub(super) struct Wire {
    v6: bool,
    client_address: u8,
    client_port: u16,
    isn: u32,
}

impl Wire {
    pub(super) fn v4() -> Self {
        Self { v6: false, client_address: 1, client_port: 40_000, isn: CLIENT_ISN }
    }

    pub(super) fn v6() -> Self {
        Self { v6: true, ..Self::v4() }
    }

    pub(super) fn port(self, client_port: u16) -> Self {
        Self { client_port, ..self }
    }

    /// Sets the last byte of the client's address.
    pub(super) fn client_address(self, client_address: u8) -> Self {
        Self { client_address, ..self }
    }

    pub(super) fn isn(self, isn: u32) -> Self {
        Self { isn, ..self }
    }

    pub(super) fn syn(self, option: &[u8], payload: usize) -> Vec<u8> {
        self.tcp(Host::Client, flag::SYN, self.isn, 0, option, payload)
    }

    pub(super) fn syn_ack(self, option: &[u8], ack: u32) -> Vec<u8> {
        self.tcp(Host::Server, flag::SYN_ACK, SERVER_ISN, ack, option, 0)
    }

    pub(super) fn tcp(
        self,
        from: Host,
        flags: u8,
        sequence: u32,
        acknowledgment: u32,
        option: &[u8],
        payload: usize,
    ) -> Vec<u8> {
        let mut options = option.to_vec();
        options.resize(option.len().next_multiple_of(4), 1);
        let ports = match from {
            Host::Client => [self.client_port, 2222],
            Host::Server => [2222, self.client_port],
        };
        let mut segment: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledgment.to_be_bytes());
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        segment.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(std::iter::repeat_n(b'.', payload));
        self.ip(from, 6, &segment)
    }

    pub(super) fn ip(self, from: Host, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = match from {
            Host::Client => (self.client_address, 200),
            Host::Server => (200, self.client_address),
        };
        let mut frame = vec![2, 0, 0, 0, 0, destination, 2, 0, 0, 0, 0, source];
        let address = |last: u8| {
            let mut address = [0; 16];
            address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            address[15] = last;
            address
        };
        if self.v6 {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocol, 64]);
            frame.extend(address(source));
            frame.extend(address(destination));
        } else {
            let length = u16::try_from(payload.len() + 20).unwrap().to_be_bytes();
            frame.extend([0x08, 0x00, 0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol]);
            frame.extend([0, 0, 192, 0, 2, source, 192, 0, 2, destination]);
        }
        frame.extend(payload);
        frame
    }
}

/// An ICMP error from the server's host that quotes a client's SYN.
pub(super) fn icmp_port_unreachable() -> Vec<u8> {
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend(&Wire::v4().syn(&REQUEST, 0)[14..14 + 28]);
    Wire::v4().ip(Host::Server, 1, &message)
}

/// The packets of a path with 20 ms each way.
pub(super) struct Script {
    wire: Wire,
    packets: Vec<PacketPath>,
}

/// Returns the time this many milliseconds after the first packet.
pub(super) fn at(milliseconds: f64) -> Duration {
    START + Duration::from_secs_f64(milliseconds / 1e3)
}

const DELAY: f64 = 20.0;

impl Script {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, packets: Vec::new() }
    }

    pub(super) fn packet(mut self, direction: Direction, sent: f64, frame: Vec<u8>) -> Self {
        let mut packet = PacketPath::sent(direction, Sighting::new(at(sent), frame.clone()));
        packet.arrived = Some(Sighting::new(at(sent + DELAY), frame));
        packet.delivery = Delivery::Arrived;
        self.packets.push(packet);
        self
    }

    pub(super) fn up(self, sent: f64, flags: u8, offset: u32, ack: u32, payload: usize) -> Self {
        let sequence = self.wire.isn.wrapping_add(offset);
        let frame = self.wire.tcp(Host::Client, flags, sequence, SERVER_ISN + ack, &[], payload);
        self.packet(Direction::ToServer, sent, frame)
    }

    pub(super) fn down(self, sent: f64, flags: u8, offset: u32, ack: u32, payload: usize) -> Self {
        let ack = self.wire.isn.wrapping_add(ack);
        let frame = self.wire.tcp(Host::Server, flags, SERVER_ISN + offset, ack, &[], payload);
        self.packet(Direction::ToClient, sent, frame)
    }

    pub(super) fn syn(self, sent: f64, option: &[u8], payload: usize) -> Self {
        let frame = self.wire.syn(option, payload);
        self.packet(Direction::ToServer, sent, frame)
    }

    pub(super) fn syn_ack(self, sent: f64, option: &[u8], acked: u32) -> Self {
        let frame = self.wire.syn_ack(option, self.wire.isn.wrapping_add(acked));
        self.packet(Direction::ToClient, sent, frame)
    }

    fn last(&mut self) -> &mut PacketPath {
        self.packets.last_mut().unwrap()
    }

    /// Drops the last packet on the path.
    pub(super) fn dropped(mut self, by: &'static str, what: &str) -> Self {
        let packet = self.last();
        packet.arrived = None;
        packet.delivery = Delivery::Dropped;
        packet.modifications.push(Modification::new(by, what));
        self
    }

    /// Makes the last packet one that the path sent.
    pub(super) fn forged(mut self, by: &'static str, what: &str) -> Self {
        let packet = self.last();
        packet.sent = None;
        packet.modifications.push(Modification::new(by, what));
        self
    }

    /// Changes the last packet on the path.
    pub(super) fn changed(mut self, by: &'static str, what: &str, frame: Vec<u8>) -> Self {
        let packet = self.last();
        packet.arrived.as_mut().unwrap().frame = frame;
        packet.modifications.push(Modification::new(by, what));
        self
    }

    pub(super) fn done(self) -> Vec<PacketPath> {
        self.packets
    }
}

/// A connection with a cached cookie: request and answer take one round trip.
pub(super) fn fast_open(wire: Wire) -> Vec<PacketPath> {
    Script::new(wire)
        .syn(0.0, &COOKIE, 64)
        .syn_ack(20.1, &[], 65)
        .down(20.3, flag::PSH_ACK, 1, 65, 506)
        .down(20.4, flag::FIN_ACK, 507, 65, 0)
        .up(40.15, flag::ACK, 65, 1, 0)
        .up(40.35, flag::ACK, 65, 507, 0)
        .up(40.6, flag::FIN_ACK, 65, 508, 0)
        .down(60.7, flag::ACK, 508, 66, 0)
        .done()
}

/// A connection that does not try fast open.
pub(super) fn regular() -> Vec<PacketPath> {
    Script::new(Wire::v4())
        .syn(0.0, &[], 0)
        .syn_ack(20.1, &[], 1)
        .up(40.2, flag::ACK, 1, 1, 0)
        .up(40.3, flag::PSH_ACK, 1, 1, 64)
        .down(60.4, flag::ACK, 1, 65, 0)
        .down(60.6, flag::PSH_ACK, 1, 65, 506)
        .down(60.7, flag::FIN_ACK, 507, 65, 0)
        .up(80.8, flag::ACK, 65, 508, 0)
        .done()
}

/// A connection without a cached cookie: the client asks for one.
pub(super) fn cookie_granted() -> Vec<PacketPath> {
    Script::new(Wire::v4())
        .syn(0.0, &REQUEST, 0)
        .syn_ack(20.1, &COOKIE, 1)
        .up(40.2, flag::ACK, 1, 1, 0)
        .up(40.3, flag::PSH_ACK, 1, 1, 64)
        .down(60.4, flag::ACK, 1, 65, 0)
        .down(60.6, flag::PSH_ACK, 1, 65, 506)
        .up(80.7, flag::FIN_ACK, 65, 507, 0)
        .down(100.8, flag::FIN_ACK, 507, 66, 0)
        .up(120.9, flag::ACK, 66, 508, 0)
        .done()
}

/// A path that drops SYNs with data.
pub(super) fn syn_data_dropped() -> Vec<PacketPath> {
    Script::new(Wire::v4())
        .syn(0.0, &COOKIE, 64)
        .dropped("drop-syn-data", "dropped")
        .syn(1024.0, &[], 0)
        .syn_ack(1044.1, &[], 1)
        .up(1064.2, flag::PSH_ACK, 1, 1, 64)
        .down(1084.5, flag::PSH_ACK, 1, 65, 506)
        .done()
}

/// A path that overwrites the option and removes the data.
pub(super) fn stripped() -> Vec<PacketPath> {
    let wire = Wire::v4();
    Script::new(wire)
        .syn(0.0, &COOKIE, 64)
        .changed(
            "strip-syn",
            "option 34 overwritten with NOPs, 64 B of payload removed",
            wire.syn(&[1; 12], 0),
        )
        .syn_ack(20.1, &[], 1)
        .up(40.2, flag::PSH_ACK, 1, 1, 64)
        .done()
}

/// A path that answers SYNs with data by a reset, towards both hosts.
pub(super) fn reset() -> Vec<PacketPath> {
    Script::new(Wire::v4())
        .syn(0.0, &COOKIE, 64)
        .down(0.0, flag::RST_ACK, 0, 65, 0)
        .forged("reset-syn-data", "answered in the server's name")
        .up(0.0, flag::RST, 65, 0, 0)
        .forged("reset-syn-data", "sent in the client's name")
        .done()
}

/// A long transfer.
pub(super) fn bulk(packets: u32) -> Vec<PacketPath> {
    let mut script = Script::new(Wire::v4()).syn(0.0, &COOKIE, 64).syn_ack(20.1, &[], 65);
    for n in 0..packets {
        script = script.down(20.3 + f64::from(n) * 0.1, flag::ACK, 1 + n * 1448, 65, 1448);
    }
    script.done()
}

/// The same packets within a thousandth of the time, as on one machine without a delay.
pub(super) fn without_delay(mut packets: Vec<PacketPath>) -> Vec<PacketPath> {
    for packet in &mut packets {
        for sighting in [&mut packet.sent, &mut packet.arrived].into_iter().flatten() {
            sighting.at = START + sighting.at.saturating_sub(START) / 1000;
        }
    }
    packets
}

/// Everything that a path may do to packets towards the client.
pub(super) fn way_back() -> Vec<PacketPath> {
    let wire = Wire::v6();
    Script::new(wire)
        .syn(0.0, &REQUEST, 0)
        .syn_ack(20.1, &COOKIE, 1)
        .changed("strip-syn-ack", "option 34 removed", wire.syn_ack(&[], CLIENT_ISN + 1))
        .up(40.2, flag::ACK, 1, 1, 0)
        .dropped("loss", "dropped")
        .syn_ack(1020.1, &COOKIE, 1)
        .dropped("drop-syn-ack", "has a cookie: dropped")
        .packet(Direction::ToClient, 1030.0, icmp_port_unreachable())
        .done()
}

/// The packets as a capture at one host shows them.
pub(super) fn seen_at(host: Host, packets: &[PacketPath]) -> Vec<PacketPath> {
    let mut seen = Vec::new();
    for packet in packets {
        let departs = (packet.direction == Direction::ToServer) == (host == Host::Client);
        if departs {
            seen.extend(packet.sent.clone().map(|s| PacketPath::sent(packet.direction, s)));
        } else {
            seen.extend(packet.arrived.clone().map(|s| PacketPath::arrived(packet.direction, s)));
        }
    }
    seen
}

/// Frames of TCP, damaged ones, and noise.
pub(super) fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let valid = (any::<[bool; 2]>(), any::<u8>(), 0..200_u32, 0..200_u32, 0..5_usize, 0..100_usize)
        .prop_map(|([v6, client], flags, sequence, ack, option, payload)| {
            let wire = if v6 { Wire::v6() } else { Wire::v4() };
            let from = if client { Host::Client } else { Host::Server };
            let option: &[u8] = match option {
                0 => &[],
                1 => &REQUEST,
                2 => &COOKIE,
                3 => &EXPERIMENTAL_REQUEST,
                _ => &EXPERIMENTAL_COOKIE,
            };
            wire.tcp(from, flags, sequence, ack, option, payload)
        });
    let icmp = (any::<u8>(), any::<u8>()).prop_map(|(kind, code)| {
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        message.extend(&Wire::v4().syn(&REQUEST, 0)[14..14 + 28]);
        Wire::v4().ip(Host::Server, 1, &message)
    });
    let damaged = (valid.clone(), any::<proptest::sample::Index>(), any::<u8>(), any::<u8>())
        .prop_map(|(mut frame, at, value, cut)| {
            let at = at.index(frame.len());
            frame[at] = value;
            frame.truncate(frame.len().saturating_sub(usize::from(cut / 4)));
            frame
        });
    let noise = proptest::collection::vec(any::<u8>(), 0..120);
    prop_oneof![4 => valid, 2 => damaged, 1 => icmp, 1 => noise]
}

fn any_sight() -> impl Strategy<Value = Option<Sighting>> {
    let time = prop_oneof![
        4 => (0..2_000_000_000_u64).prop_map(|nanos| START + Duration::from_nanos(nanos)),
        1 => (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
    ];
    proptest::option::weighted(
        0.8,
        (time, any_frame()).prop_map(|(at, frame)| Sighting::new(at, frame)),
    )
}

/// Any packet, however contradictory.
pub(super) fn any_crossing() -> impl Strategy<Value = PacketPath> {
    let delivery =
        prop_oneof![Just(Delivery::Arrived), Just(Delivery::Dropped), Just(Delivery::Unknown)];
    let what = prop_oneof!["[a-z ]{0,20}", ".{0,90}", "[<>&\"'\u{0}-\u{1f}\u{1b}é\u{ffff}]{0,40}"];
    let modifications =
        proptest::collection::vec(what.prop_map(|what| Modification::new("box", what)), 0..3);
    (any::<bool>(), any_sight(), any_sight(), delivery, modifications).prop_map(
        |(up, sent, arrived, delivery, modifications)| PacketPath {
            direction: if up { Direction::ToServer } else { Direction::ToClient },
            sent,
            arrived,
            delivery,
            modifications,
        },
    )
}
