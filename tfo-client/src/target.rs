//! Resolves a host to the one address to connect to.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use crate::config::Target;
use crate::config::file::Family;
use crate::output::Failure;

/// Returns the first address of the wanted family that this host has a route to, or the first of the family if this
/// host has a route to none of them.
pub(crate) fn resolve(target: &Target, family: Family) -> Result<SocketAddr, Failure> {
    find(target, family)
        .map_err(|e| Failure::NoConnection(format!("no address for {}: {e}", target.host)))
}

fn find(Target { host, port }: &Target, family: Family) -> io::Result<SocketAddr> {
    let wanted = |address: &SocketAddr| match family {
        Family::Any => true,
        Family::Ipv4 => address.is_ipv4(),
        Family::Ipv6 => address.is_ipv6(),
    };
    let found: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs()?.collect();
    let fitting: Vec<SocketAddr> = found.iter().copied().filter(wanted).collect();
    let routed = fitting.iter().find(|address| local_address(**address).is_some());
    let chosen = routed.or(fitting.first()).copied().ok_or_else(|| {
        let family = if family == Family::Ipv4 { "IPv4" } else { "IPv6" };
        let others: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
        let reason = format!("no {family} address, only {}", others.join(", "));
        io::Error::new(io::ErrorKind::NotFound, reason)
    })?;
    if fitting.len() > 1 {
        log::info!("{host} has {} addresses; probing {}", fitting.len(), chosen.ip());
    }
    Ok(chosen)
}

/// Returns the address that this host would connect from; `None` without a route. Sends no packet:
/// connecting a UDP socket only looks up the route.
pub(crate) fn local_address(server: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(server).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}
