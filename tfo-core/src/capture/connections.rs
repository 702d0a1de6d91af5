//! Groups packets by the connection that they belong to.

use std::collections::HashMap;
use std::time::Duration;

use super::frame::{Endpoints, Frame};
use super::{Direction, PacketPath, Sighting};

/// Groups packets by connection: one group for each pair of addresses and ports, and for each new
/// SYN between them. Groups, and the packets in each, are in the order of time.
///
/// A path that translates addresses does not split a connection: a packet that was seen on both sides shows which
/// pair of addresses corresponds to which. An ICMP error belongs to the connection that it quotes; other packets
/// that are not TCP are left out.
#[must_use]
pub fn connections(packets: &[PacketPath]) -> Vec<Vec<PacketPath>> {
    let mut order: Vec<&PacketPath> = packets.iter().collect();
    order.sort_by_key(|packet| first_seen(packet));
    let mut groups = Groups::default();
    for packet in order {
        groups.add(packet);
    }
    groups.members
}

/// Returns when a packet was first seen anywhere. Packets that were never seen sort first.
pub(super) fn first_seen(packet: &PacketPath) -> Option<Duration> {
    let time = |sighting: &Option<Sighting>| sighting.as_ref().map(|sighting| sighting.at);
    match (time(&packet.sent), time(&packet.arrived)) {
        (Some(sent), Some(arrived)) => Some(sent.min(arrived)),
        (sent, arrived) => sent.or(arrived),
    }
}

#[derive(Default)]
struct Groups {
    members: Vec<Vec<PacketPath>>,
    /// The latest group and its SYN, by the endpoints as the client names them, else as the server does.
    latest: HashMap<Endpoints, (usize, Option<u32>)>,
    /// From the endpoints as the server names them to the endpoints as the client does.
    aliases: HashMap<Endpoints, Endpoints>,
}

/// What identifies the connection of a packet.
#[derive(Clone, Copy)]
struct Mark {
    endpoints: Endpoints,
    /// The sequence number, if it opens a connection.
    syn: Option<u32>,
}

impl Groups {
    fn add(&mut self, packet: &PacketPath) {
        let (at_client, at_server) = match packet.direction {
            Direction::ToServer => (&packet.sent, &packet.arrived),
            Direction::ToClient => (&packet.arrived, &packet.sent),
        };
        let (at_client, at_server) = (mark(at_client.as_ref()), mark(at_server.as_ref()));
        if let (Some(client), Some(server)) = (&at_client, &at_server) {
            self.aliases.insert(server.endpoints, client.endpoints);
        }
        let Some(mark) = at_client.or_else(|| at_server.map(|mark| self.translated(mark))) else {
            return;
        };
        let known = self.latest.get(&mark.endpoints).copied();
        let group = match (known, mark.syn) {
            (Some((group, None)), _) if mark.syn.is_none() => group,
            (Some((group, Some(_))), None) => group,
            (Some((group, Some(before))), Some(syn)) if before == syn => group,
            _ => {
                self.members.push(Vec::new());
                self.latest.insert(mark.endpoints, (self.members.len() - 1, mark.syn));
                self.members.len() - 1
            }
        };
        if let Some(members) = self.members.get_mut(group) {
            members.push(packet.clone());
        }
    }

    fn translated(&self, mark: Mark) -> Mark {
        let endpoints = self.aliases.get(&mark.endpoints).copied().unwrap_or(mark.endpoints);
        Mark { endpoints, ..mark }
    }
}

fn mark(sighting: Option<&Sighting>) -> Option<Mark> {
    match Frame::parse(&sighting?.frame) {
        Frame::Tcp(segment) => Some(Mark {
            endpoints: segment.endpoints.canonical(),
            syn: segment.opens().then_some(segment.sequence),
        }),
        Frame::Other(other) => Some(Mark { endpoints: other.quoted?.canonical(), syn: None }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{self, Host, Script, Wire, flag};
    use super::*;

    fn sizes(packets: &[PacketPath]) -> Vec<usize> {
        connections(packets).iter().map(Vec::len).collect()
    }

    #[test]
    fn interleaved_connections_are_separated() {
        let mut all = Script::new(Wire::v4().port(50_000)).syn(0.5, &fixture::REQUEST, 0).done();
        all.extend(fixture::fast_open(Wire::v4()));
        all.extend(fixture::fast_open(Wire::v6()));
        all.reverse();
        assert_eq!(sizes(&all), [8, 8, 1], "in the order of their first packets");
        let groups = connections(&all);
        let times: Vec<_> = groups[0].iter().map(first_seen).collect();
        assert!(times.is_sorted(), "within a group by time");
    }

    #[test]
    fn new_syn_between_the_same_ports_is_a_new_connection() {
        let all = Script::new(Wire::v4())
            .syn(0.0, &fixture::COOKIE, 64)
            .syn(1000.0, &[], 0)
            .syn_ack(1020.0, &[], 1)
            .packet(Direction::ToServer, 2000.0, Wire::v4().isn(7).syn(&fixture::REQUEST, 0))
            .done();
        assert_eq!(sizes(&all), [3, 1], "the same SYN again is none");
    }

    #[test]
    fn translated_addresses_do_not_split_a_connection() {
        let outside = Wire::v4().client_address(77);
        let all = Script::new(Wire::v4())
            .syn(0.0, &fixture::COOKIE, 64)
            .changed("translate", "source address", outside.syn(&fixture::COOKIE, 64))
            .packet(Direction::ToClient, 20.1, outside.syn_ack(&[], fixture::CLIENT_ISN + 1))
            .dropped("loss", "dropped")
            .up(40.0, flag::ACK, 1, 1, 0)
            .done();
        assert_eq!(sizes(&all), [3], "the SYN-ACK was only seen with the outer address");
    }

    #[test]
    fn icmp_error_belongs_to_the_connection_that_it_quotes() {
        let arp = vec![0xff; 60];
        let all = Script::new(Wire::v4())
            .packet(Direction::ToServer, 0.0, arp)
            .syn(1.0, &fixture::REQUEST, 0)
            .packet(Direction::ToClient, 30.0, fixture::icmp_port_unreachable())
            .packet(Direction::ToClient, 31.0, Wire::v4().ip(Host::Server, 17, &[0; 20]))
            .done();
        assert_eq!(sizes(&all), [2]);
    }

    proptest! {
        #[test]
        fn no_packet_appears_twice(all in proptest::collection::vec(fixture::any_crossing(), 0..30)) {
            prop_assert!(sizes(&all).iter().sum::<usize>() <= all.len());
            prop_assert!(sizes(&all).iter().all(|size| *size > 0));
        }
    }
}
