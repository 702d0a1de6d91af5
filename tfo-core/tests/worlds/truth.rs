//! What acted on a connection, from the path's record of its packets and the settings of the hosts.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use tfo_core::capture::{Delivery, Direction, PacketPath};
use tfo_core::cookie::{FastOpenCookie, FastOpenKey};
use tfo_core::diagnosis::Cause;

use crate::packets;
use crate::play::{Connection, Played};
use crate::service::Service;
use crate::world::{Server, World};

/// What acted on the connection of one client, which may be the proxy.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Truth {
    /// What acted for sure.
    pub(crate) acted: BTreeSet<Cause>,
    /// What may have acted too: it would have if something else had not come first, or nothing here tells.
    pub(crate) maybe: BTreeSet<Cause>,
    /// The SYN-ACK that came back acknowledged data.
    pub(crate) data_acked: bool,
    /// A SYN-ACK with a cookie came back.
    pub(crate) cookie_came: bool,
    /// A server sent a SYN-ACK with a cookie.
    pub(crate) cookie_sent: bool,
    /// The first SYN asked for a cookie.
    pub(crate) asked: bool,
    /// The first SYN had data.
    pub(crate) sent_data: bool,
    /// The first SYN had neither option nor data.
    pub(crate) plain: bool,
    /// A box, not chance, dropped a packet of the handshake.
    pub(crate) box_dropped: bool,
    /// SYN or SYN-ACK were sent again.
    pub(crate) syn_repeated: bool,
    pub(crate) syn_ack_repeated: bool,
    /// A SYN with a cookie reached a server that refuses it.
    pub(crate) refused_cookie: bool,
    /// Something on the path acted.
    pub(crate) path_acted: bool,
    pub(crate) lost: bool,
    pub(crate) packets: Vec<String>,
}

/// A TCP segment at one end of the path.
struct Segment {
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    syn: bool,
    ack: bool,
    rst: bool,
    sequence: u32,
    acknowledged: u32,
    option: Option<(u8, Vec<u8>)>,
    data: usize,
}

struct Step {
    to_server: bool,
    sent: Option<Segment>,
    arrived: Option<Segment>,
    by: Vec<&'static str>,
    dropped: bool,
}

fn segment(frame: &[u8]) -> Option<Segment> {
    let seen = packets::tcp(frame)?;
    let tcp = &seen.tcp;
    Some(Segment {
        source: seen.source,
        destination: seen.destination,
        ports: (tcp.source_port(), tcp.destination_port()),
        syn: tcp.syn(),
        ack: tcp.ack(),
        rst: tcp.rst(),
        sequence: tcp.sequence_number(),
        acknowledged: tcp.acknowledgment_number(),
        option: packets::options(tcp).0,
        data: tcp.payload().len(),
    })
}

fn step(packet: &PacketPath) -> Option<Step> {
    let at = |sighting: &Option<tfo_core::capture::Sighting>| {
        sighting.as_ref().and_then(|sighting| segment(&sighting.frame))
    };
    let (sent, arrived) = (at(&packet.sent), at(&packet.arrived));
    if sent.is_none() && arrived.is_none() {
        return None;
    }
    Some(Step {
        to_server: packet.direction == Direction::ToServer,
        sent,
        arrived,
        by: packet.modifications.iter().map(|modification| modification.by).collect(),
        dropped: packet.delivery == Delivery::Dropped,
    })
}

impl Step {
    fn any(&self) -> Option<&Segment> {
        self.sent.as_ref().or(self.arrived.as_ref())
    }

    /// Whether the packet was sent by, or came to, another address of the client.
    fn is_of_another(&self, local: Option<SocketAddr>) -> bool {
        let own = if self.to_server {
            self.sent.as_ref().map(|sent| sent.source)
        } else {
            self.arrived.as_ref().map(|arrived| arrived.destination)
        };
        own.zip(local).is_some_and(|(own, local)| own != local.ip().to_canonical())
    }

    fn client_port(&self) -> Option<u16> {
        let any = self.any()?;
        Some(if self.to_server { any.ports.0 } else { any.ports.1 })
    }

    fn server_port(&self) -> Option<u16> {
        let any = self.any()?;
        Some(if self.to_server { any.ports.1 } else { any.ports.0 })
    }
}

impl Truth {
    /// What acted on the connection of the client itself.
    pub(crate) fn of_client(world: &World, played: &Played, connection: &Connection) -> Self {
        let reached = connection.reached.map(|(index, _)| index);
        let bits = Some(world.client.bits);
        let port = connection.local.map(|local| local.port());
        Self::new(world, played, connection, (port, reached, bits), world.proxy)
    }

    /// What acted on the connection that the server saw: the client's or the proxy's.
    pub(crate) fn of_server(world: &World, played: &Played, connection: &Connection) -> Self {
        let (reached, port) = connection
            .reached
            .map_or((None, None), |(index, source)| (Some(index), Some(source.port())));
        let bits = Some(world.client.bits).filter(|_| !world.proxy);
        Self::new(world, played, connection, (port, reached, bits), false)
    }

    fn new(
        world: &World,
        played: &Played,
        connection: &Connection,
        (port, reached, client_bits): (Option<u16>, Option<usize>, Option<u32>),
        proxied: bool,
    ) -> Self {
        let mut it = Self::default();
        let Some(port) = port else { return it };
        let steps: Vec<Step> = played
            .packets
            .iter()
            .filter_map(step)
            .filter(|step| {
                step.client_port() == Some(port)
                    && step.server_port() == Some(connection.remote.port())
                    // Another address of the client may have had the same port.
                    && !(client_bits.is_some() && step.is_of_another(connection.local))
            })
            .collect();
        it.packets = packets::handshake(&played.packets, port);
        let servers: Vec<&Server> = match reached {
            Some(index) => vec![&connection.servers[index]],
            None => connection.servers.iter().collect(),
        };
        let sure = servers.len() == 1 && !proxied;
        if proxied {
            it.acted.insert(Cause::Proxied);
        }
        let mut first = None;
        let (mut syns, mut syn_acks) = (0, 0);
        // A SYN that arrived, and that nobody has answered.
        let mut open = false;
        for step in &steps {
            let any = step.any().unwrap();
            it.path_acted |= !step.by.is_empty();
            it.lost |= step.by.contains(&"loss");
            if any.syn && !any.ack {
                if let Some(sent) = &step.sent {
                    syns += 1;
                    if syns == 1 {
                        first = Some(sent.sequence);
                        it.sent_data = sent.data > 0;
                        it.asked =
                            sent.option.as_ref().is_some_and(|(_, cookie)| cookie.is_empty());
                        it.plain = sent.option.is_none() && sent.data == 0;
                    }
                }
                if step.arrived.is_some() && step.sent.is_some() && !proxied {
                    if open {
                        it.acted.insert(Cause::AcceptQueueFull);
                    }
                    open = true;
                }
                it.syn(step, &servers, sure, played);
            } else if any.syn && any.ack {
                syn_acks += usize::from(step.sent.is_some());
                it.syn_ack(step, first);
            }
            open &= step.to_server || step.sent.is_none();
            it.any(step, syns, syn_acks);
        }
        let stalled = servers.iter().any(|server| matches!(server.service, Service::Stalled(_)));
        if open && stalled {
            it.acted.insert(Cause::AcceptQueueFull);
        }
        if stalled {
            it.maybe.extend([Cause::AcceptQueueFull, Cause::RegularFailsToo]);
        }
        if it.plain {
            it.acted.insert(match client_bits {
                Some(bits) if bits & 1 == 0 => Cause::ClientDisabled,
                Some(_) => Cause::PausedByBlackhole,
                // The lab's proxy does not use fast open.
                None => Cause::DisabledByConfig,
            });
        }
        it.syn_repeated = syns > 1;
        it.syn_ack_repeated = syn_acks > 1;
        if it.syn_repeated || it.syn_ack_repeated {
            it.acted.insert(Cause::SynRetransmitted);
        }
        if it.lost || servers.iter().any(|server| server.service == Service::Closed) {
            it.acted.insert(Cause::RegularFailsToo);
        }
        if servers.iter().any(|server| matches!(server.service, Service::Silent | Service::Slow(_)))
        {
            it.acted.insert(Cause::TimedOut);
        }
        // What nobody answers with a reset may still be refused: by another server behind the same address.
        if connection.servers.iter().any(|server| server.service == Service::Closed) {
            it.maybe.extend([Cause::Refused, Cause::RegularFailsToo]);
        }
        if world.lossy {
            it.maybe.insert(Cause::RegularFailsToo);
        }
        it
    }

    fn act(&mut self, sure: bool, cause: Cause) {
        if sure {
            self.acted.insert(cause)
        } else {
            self.maybe.insert(cause)
        };
    }

    fn syn(&mut self, step: &Step, servers: &[&Server], sure: bool, played: &Played) {
        if step.dropped && step.by.iter().any(|by| *by != "loss" && *by != "router") {
            self.box_dropped = true;
        }
        let Some(arrived) = &step.arrived else { return };
        let sent = step.sent.as_ref();
        let option_sent = sent.is_none_or(|sent| sent.option.is_some());
        if let Some(sent) = sent {
            if sent.option.is_some() && arrived.option.is_none() {
                self.acted.insert(Cause::OptionStripped);
            }
            if sent.data > arrived.data {
                self.acted.insert(Cause::SynDataStripped);
            }
            if sent.data > 0 && sent.option.is_none() {
                self.acted.insert(Cause::ClientWithoutCookies);
            }
            if let (Some((_, before)), Some((_, after))) = (&sent.option, &arrived.option)
                && before != after
            {
                self.acted.insert(Cause::CookieCorrupted);
            }
        }
        let tried = arrived.option.is_some() || (arrived.data > 0 && !option_sent);
        for server in servers {
            if server.syncookies == 2 {
                self.act(sure, Cause::ServerSyncookies);
            }
            // With so short a backlog its SYN queue is full soon as well.
            if server.syncookies == 1 && matches!(server.service, Service::Stalled(_)) {
                self.maybe.insert(Cause::ServerSyncookies);
            }
            let off = server.bits & 2 == 0 || server.queue == 0;
            let with_syncookies = server.syncookies == 2;
            if off && tried {
                self.act(sure && !with_syncookies, Cause::ServerDisabled);
            }
            if off || with_syncookies {
                continue;
            }
            if server.filled && (arrived.option.is_some() || arrived.data > 0) {
                self.act(sure, Cause::QueueFull);
            }
            if server.queue < 4 {
                self.maybe.insert(Cause::QueueFull);
            }
            if server.no_cookie || server.bits & 0x200 != 0 {
                self.act(sure && tried, Cause::ServerWithoutCookies);
                continue;
            }
            if let Some((_, cookie)) = &arrived.option
                && !cookie.is_empty()
                && !server.filled
            {
                self.cookie(cookie, sent, arrived, server, sure, played);
            }
        }
    }

    /// Why a cookie does not fit that arrived at a server which looks at it.
    fn cookie(
        &mut self,
        cookie: &[u8],
        sent: Option<&Segment>,
        arrived: &Segment,
        server: &Server,
        sure: bool,
        played: &Played,
    ) {
        let Ok(cookie) = FastOpenCookie::new(cookie) else { return };
        let made = |key: &FastOpenKey, source: IpAddr, destination: IpAddr| {
            key.cookie(source, destination)
        };
        let own = [Some(&server.keys.0), server.keys.1.as_ref()];
        let accepted = own
            .iter()
            .flatten()
            .any(|key| made(key, arrived.source, arrived.destination) == cookie);
        if accepted {
            return;
        }
        self.refused_cookie = true;
        // What the client had, where it was changed on the way.
        let original = sent
            .and_then(|sent| sent.option.as_ref())
            .and_then(|(_, cookie)| FastOpenCookie::new(cookie).ok());
        let cookie = original.unwrap_or(cookie);
        let sure = sure && !self.acted.contains(&Cause::CookieCorrupted);
        let mut found = false;
        for key in &played.keys {
            for source in sources(played, arrived.source) {
                for destination in destinations(played, arrived.destination) {
                    if found || made(key, source, destination) != cookie {
                        continue;
                    }
                    found = true;
                    if !own.iter().flatten().any(|own| *own == key) {
                        self.act(sure, Cause::KeyMismatch);
                    }
                    if source != arrived.source {
                        self.act(sure, Cause::AddressTranslated);
                    }
                    if destination != arrived.destination {
                        self.act(sure, Cause::DestinationTranslated);
                    }
                }
            }
        }
        if !found {
            self.maybe.extend([Cause::CookieCorrupted, Cause::KeyMismatch]);
        }
    }

    fn syn_ack(&mut self, step: &Step, first: Option<u32>) {
        let cookie = |segment: &Option<Segment>| {
            segment.as_ref().and_then(|segment| segment.option.as_ref()).cloned()
        };
        let (sent, arrived) = (cookie(&step.sent), cookie(&step.arrived));
        self.cookie_sent |= sent.is_some();
        self.cookie_came |= arrived.is_some();
        if step.dropped && step.by.iter().any(|by| *by != "loss" && *by != "router") {
            self.box_dropped = true;
        }
        let Some(segment) = &step.arrived else { return };
        if sent.is_some() && arrived.is_none() {
            self.acted.insert(Cause::SynAckOptionStripped);
        }
        if let Some(first) = first
            && segment.acknowledged.wrapping_sub(first) > 1
        {
            self.data_acked = true;
        }
    }

    fn any(&mut self, step: &Step, syns: usize, syn_acks: usize) {
        let any = step.any().unwrap();
        for by in &step.by {
            match *by {
                "router" => drop(self.acted.insert(Cause::PathMtuExceeded)),
                "reset-syn-data" | "prohibit-syn-data" => {
                    self.acted.insert(Cause::ResetOnSynData);
                }
                "swallow-after-syn-data" => drop(self.acted.insert(Cause::DeadAfterSynData)),
                _ => {}
            }
        }
        if any.rst && !step.to_server && step.sent.is_some() && syns > 0 && syn_acks == 0 {
            self.acted.insert(Cause::Refused);
        }
    }
}

/// The addresses that packets of the world came from and went to, as servers saw them.
fn sources(played: &Played, first: IpAddr) -> BTreeSet<IpAddr> {
    let arrived = played.packets.iter().filter(|packet| packet.direction == Direction::ToServer);
    let seen = arrived.filter_map(|packet| segment(&packet.arrived.as_ref()?.frame));
    seen.filter(|segment| segment.syn).map(|segment| segment.source).chain([first]).collect()
}

fn destinations(played: &Played, first: IpAddr) -> BTreeSet<IpAddr> {
    let arrived = played.packets.iter().filter(|packet| packet.direction == Direction::ToServer);
    let seen = arrived.filter_map(|packet| segment(&packet.arrived.as_ref()?.frame));
    seen.filter(|segment| segment.syn).map(|segment| segment.destination).chain([first]).collect()
}
