//! Resolves a host to the one address to connect to.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use crate::config::Target;
use crate::config::file::Family;
use crate::output::{Failure, note};

/// Returns the first address of the wanted family that this host has a route to, or the first of the family if this
/// host has a route to none of them.
pub(crate) fn resolve(target: &Target, family: Family) -> Result<SocketAddr, Failure> {
    if let Some(meant) = with_brackets(&target.host) {
        note(&format!("{} is one IPv6 address; did you mean {meant}?", target.host));
    }
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

/// Returns the address and port if an IPv6 address looks like both without brackets: `::1:2222` is an address, but
/// `[::1]:2222` was probably meant.
fn with_brackets(host: &str) -> Option<String> {
    let (address, port) = host.rsplit_once(':')?;
    let looks_like_port = port.len() > 1 && port.chars().all(|c| c.is_ascii_digit());
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    (looks_like_port && is_address(host) && is_address(address))
        .then(|| format!("[{address}]:{port}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_with_a_port_and_no_brackets_is_recognized() {
        for (host, meant) in [
            ("::1:2222", Some("[::1]:2222")),
            ("2001:db8::2:443", Some("[2001:db8::2]:443")),
            ("::1", None),
            ("2001:db8::2", None),
            ("fe80::1:abcd", None),
            ("1:2:3:4:5:6:7:80", None),
            ("192.0.2.1", None),
            ("example.org", None),
        ] {
            assert_eq!(with_brackets(host).as_deref(), meant, "{host}");
        }
    }
}
