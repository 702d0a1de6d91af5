//! Packets that crossed the path, as short texts.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use tfo_core::capture::{Delivery, Direction, PacketPath};

/// The TCP segment of a frame, parsed by another library.
pub(crate) struct Seen<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) tcp: TcpSlice<'a>,
}

pub(crate) fn tcp(frame: &[u8]) -> Option<Seen<'_>> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination): (IpAddr, IpAddr) = match packet.net? {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => return None,
    };
    match packet.transport? {
        TransportSlice::Tcp(tcp) => Some(Seen { source, destination, tcp }),
        _ => None,
    }
}

/// Returns the fast open option as in the header (its kind and the cookie's bytes), and how many NOPs end the
/// options.
pub(crate) fn options(tcp: &TcpSlice<'_>) -> (Option<(u8, Vec<u8>)>, usize) {
    let mut rest = tcp.options();
    let (mut found, mut nops) = (None, 0);
    while let [kind, after @ ..] = rest {
        let length = if *kind <= 1 { 1 } else { usize::from(after[0]) };
        match (kind, &rest[..length]) {
            (1, _) => nops += 1,
            (34, [_, _, cookie @ ..]) | (254, [_, _, 0xf9, 0x89, cookie @ ..]) => {
                (found, nops) = (Some((*kind, cookie.to_vec())), 0);
            }
            _ => nops = 0,
        }
        rest = &rest[length..];
    }
    (found, nops)
}

/// Returns the packets of a handshake (SYN, SYN-ACK, RST) between this client's port and the server, in the order
/// in which they were sent.
///
/// - `> SYN cookie34 +64`: to the server, with a cookie in option 34 and 64 bytes of data;
/// - `< SYN-ACK acks 64`: to the client, and acknowledges 64 bytes of data;
/// - `> SYN request34 => SYN nops`: it arrived otherwise than it was sent;
/// - `> SYN +64 => dropped`: it did not arrive;
/// - `< => RST`: the path made it.
pub(crate) fn handshake(packets: &[PacketPath], client_port: u16) -> Vec<String> {
    let mut first = None;
    packets.iter().filter_map(|packet| describe(packet, client_port, &mut first)).collect()
}

fn describe(packet: &PacketPath, client_port: u16, first: &mut Option<u32>) -> Option<String> {
    let sent = packet.sent.as_ref().and_then(|sighting| tcp(&sighting.frame));
    let arrived = packet.arrived.as_ref().and_then(|sighting| tcp(&sighting.frame));
    let any = &sent.as_ref().or(arrived.as_ref())?.tcp;
    let (port, arrow) = match packet.direction {
        Direction::ToServer => (any.source_port(), ">"),
        Direction::ToClient => (any.destination_port(), "<"),
    };
    if port != client_port || !(any.syn() || any.rst()) {
        return None;
    }
    let first = *first.get_or_insert(any.sequence_number());
    let before = sent.as_ref().map(|seen| text(&seen.tcp, first, None));
    let option = sent.as_ref().and_then(|seen| options(&seen.tcp).0);
    let mut after = match (&arrived, packet.delivery) {
        (Some(seen), _) => text(&seen.tcp, first, option.as_ref()),
        (None, Delivery::Dropped) => "dropped".to_owned(),
        (None, _) => "on its way".to_owned(),
    };
    if let (Some(sent), Some(arrived)) = (&sent, &arrived)
        && sent.source != arrived.source
    {
        after += " from elsewhere";
    }
    Some(match before {
        Some(before) if before == after => format!("{arrow} {after}"),
        Some(before) => format!("{arrow} {before} => {after}"),
        None => format!("{arrow} => {after}"),
    })
}

fn text(tcp: &TcpSlice<'_>, first: u32, sent: Option<&(u8, Vec<u8>)>) -> String {
    let mut text = match (tcp.rst(), tcp.ack()) {
        (true, _) => "RST",
        (false, false) => "SYN",
        (false, true) => "SYN-ACK",
    }
    .to_owned();
    match options(tcp) {
        (Some((kind, cookie)), _) => {
            let what = match sent {
                _ if cookie.is_empty() => "request",
                Some((_, sent)) if *sent != cookie => "changed",
                _ => "cookie",
            };
            text += &format!(" {what}{kind}");
        }
        (None, 4..) => text += " nops",
        (None, _) => {}
    }
    let acked = tcp.acknowledgment_number().wrapping_sub(first).wrapping_sub(1);
    if tcp.ack() && !tcp.rst() && acked > 0 {
        text += &format!(" acks {acked}");
    }
    if !tcp.payload().is_empty() {
        text += &format!(" +{}", tcp.payload().len());
    }
    text
}
