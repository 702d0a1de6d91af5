//! Packets that crossed the path, as short texts.

use std::net::IpAddr;

use tfo_core::capture::{Crossing, Direction, Fate};
use tfo_core::wire::{FastOpenOption, IpHeader, TcpHeader};

/// The TCP segment of a frame.
pub(crate) struct Seen<'a> {
    pub(crate) source: IpAddr,
    pub(crate) tcp: TcpHeader<'a>,
}

pub(crate) fn tcp(frame: &[u8]) -> Option<Seen<'_>> {
    let ip = IpHeader::parse(frame.get(14..)?).ok().filter(|ip| ip.protocol() == 6)?;
    Some(Seen { source: ip.source(), tcp: TcpHeader::parse(ip.payload()).ok()? })
}

/// The packets of a handshake (SYN, SYN-ACK, RST) between this client's port and the server, in the
/// order in which they were sent.
///
/// - `> SYN cookie34 +64`: to the server, with a cookie in option 34 and 64 bytes of data;
/// - `< SYN-ACK acks 64`: to the client, and acknowledges 64 bytes of data;
/// - `> SYN request34 => SYN nops`: it arrived otherwise than it was sent;
/// - `> SYN +64 => dropped`: it did not arrive;
/// - `< => RST`: the path made it.
pub(crate) fn handshake(crossings: &[Crossing], client_port: u16) -> Vec<String> {
    let mut first = None;
    crossings.iter().filter_map(|crossing| describe(crossing, client_port, &mut first)).collect()
}

fn describe(crossing: &Crossing, client_port: u16, first: &mut Option<u32>) -> Option<String> {
    let sent = crossing.sent.as_ref().and_then(|sight| tcp(&sight.frame));
    let arrived = crossing.arrived.as_ref().and_then(|sight| tcp(&sight.frame));
    let any = &sent.as_ref().or(arrived.as_ref())?.tcp;
    let (port, arrow) = match crossing.direction {
        Direction::ToServer => (any.source_port(), ">"),
        Direction::ToClient => (any.destination_port(), "<"),
    };
    if port != client_port || !(any.flags().syn() || any.flags().rst()) {
        return None;
    }
    let first = *first.get_or_insert(any.sequence());
    let before = sent.as_ref().map(|seen| text(&seen.tcp, first, None));
    let option = sent.as_ref().and_then(|seen| seen.tcp.options().fast_open());
    let mut after = match (&arrived, crossing.fate) {
        (Some(seen), _) => text(&seen.tcp, first, option),
        (None, Fate::Dropped) => "dropped".to_owned(),
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

fn text(tcp: &TcpHeader<'_>, first: u32, sent: Option<FastOpenOption<'_>>) -> String {
    let flags = tcp.flags();
    let mut text = match (flags.rst(), flags.ack()) {
        (true, _) => "RST",
        (false, false) => "SYN",
        (false, true) => "SYN-ACK",
    }
    .to_owned();
    match tcp.options().fast_open() {
        Some(option) => {
            let what = match sent {
                _ if option.is_request() => "request",
                Some(sent) if sent.cookie != option.cookie => "changed",
                _ => "cookie",
            };
            text += &format!(" {what}{}", option.kind.number());
        }
        None if tcp.options().trailing_nops() >= 4 => text += " nops",
        None => {}
    }
    let acked = tcp.acknowledgment().wrapping_sub(first).wrapping_sub(1);
    if flags.ack() && !flags.rst() && acked > 0 {
        text += &format!(" acks {acked}");
    }
    if !tcp.payload().is_empty() {
        text += &format!(" +{}", tcp.payload().len());
    }
    text
}
