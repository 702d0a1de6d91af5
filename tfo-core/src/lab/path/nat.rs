//! Address translation at the ends of the path, with one address for all connections of the client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::lab::address::{SERVER_V4, SERVER_V6};
use crate::lab::frame::Segment;
use crate::lab::route::End;

/// The translator at the client's end, and the one at the servers'.
#[derive(Debug, Default)]
pub(super) struct Nat {
    client: bool,
    servers: bool,
    /// The client's own address of each translated one.
    original: HashMap<SocketAddr, IpAddr>,
}

impl Nat {
    pub(super) fn new(client: bool, servers: bool) -> Self {
        Self { client, servers, original: HashMap::new() }
    }

    /// A frame that came from this end.
    pub(super) fn enter(&mut self, end: End, frame: Vec<u8>) -> Vec<u8> {
        let wanted = (self.client && end == End::Client) || (self.servers && end == End::Server);
        let Some(mut segment) = Segment::parse(&frame).filter(|_| wanted) else { return frame };
        let source = segment.source();
        if end == End::Client {
            let public = public(source.is_ipv4());
            self.original.insert(SocketAddr::new(public, source.port()), source.ip());
            segment.set_source(public);
        } else if source.is_ipv4() {
            segment.set_source(SERVER_V4.into());
        } else {
            segment.set_source(SERVER_V6.into());
        }
        segment.into_bytes()
    }

    /// A frame that goes to this end; of several servers, to the one with this number.
    pub(super) fn leave(&self, end: End, server: usize, frame: Vec<u8>) -> Vec<u8> {
        let wanted = (self.client && end == End::Client) || (self.servers && end == End::Server);
        let Some(mut segment) = Segment::parse(&frame).filter(|_| wanted) else { return frame };
        let destination = segment.destination();
        if end == End::Server {
            segment.set_destination(server_address(server, destination.is_ipv4()));
        } else if let Some(own) = self.original.get(&destination) {
            segment.set_destination(*own);
        }
        segment.into_bytes()
    }
}

/// The address that the translator gives to the client: of 198.51.100.0/24 (RFC 5737), or `2001:db8:1::/64`.
fn public(v4: bool) -> IpAddr {
    if v4 {
        Ipv4Addr::new(198, 51, 100, 254).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 254).into()
    }
}

/// The own address of the server with this number, where the address that clients use is translated.
pub(in crate::lab) fn server_address(number: usize, v4: bool) -> IpAddr {
    let last = u8::try_from(10 + number).unwrap_or(u8::MAX);
    if v4 {
        Ipv4Addr::new(192, 0, 2, last).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
    }
}
