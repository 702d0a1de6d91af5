//! The addresses of a connection: resolves the target's name, and checks the local address and interface.

use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, ToSocketAddrs, UdpSocket,
};
use std::{error, fmt, io};

use tfo_core::cli::error_chain;
use tfo_core::probe::Probe;
use tfo_core::socket::option;

use crate::config::file::Family;
use crate::config::{self, Target};
use crate::output::{Failure, note};

/// Returns the first address of the wanted family that this host has a route to, or the first of the family if this
/// host has a route to none of them.
pub(crate) fn resolve(target: &Target, family: Family) -> Result<SocketAddr, Failure> {
    let found = resolve_all(target, family)?;
    let routed = found.iter().find(|address| local_address(**address).is_some());
    let chosen = routed.or(found.first()).copied();
    let chosen = chosen.ok_or_else(|| no_address(target, &"it has none"))?;
    if found.len() > 1 {
        let (count, ip) = (found.len(), chosen.ip());
        log::info!(
            "{} has {count} addresses; using {ip}; --all-addresses probes each",
            target.host
        );
    }
    Ok(chosen)
}

/// Returns the addresses of the wanted family, at least one, in the order of the resolver.
pub(crate) fn resolve_all(target: &Target, family: Family) -> Result<Vec<SocketAddr>, Failure> {
    let Target { host, port } = target;
    if let Some(meant) = with_brackets(host) {
        note(&format!("{host} is one IPv6 address; did you mean {meant}?"));
    }
    let wanted = |address: &SocketAddr| family == Family::Any || family == Family::of(address.ip());
    let found = (host.as_str(), *port).to_socket_addrs().map_err(|e| no_address(target, &e))?;
    let found: Vec<SocketAddr> = found.collect();
    let mut fitting: Vec<SocketAddr> = Vec::new();
    for address in found.iter().copied().filter(wanted) {
        if !fitting.contains(&address) {
            fitting.push(address);
        }
    }
    if fitting.is_empty() {
        let family = if family == Family::Ipv4 { "IPv4" } else { "IPv6" };
        let others: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
        return Err(no_address(
            target,
            &format!("no {family} address, only {}", others.join(", ")),
        ));
    }
    let unscoped = fitting.iter().find(|address| match address {
        SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() == 0,
        SocketAddr::V4(_) => false,
    });
    match unscoped.map(SocketAddr::ip) {
        Some(ip) => Err(Failure::Unusable(format!(
            "{ip} is the address of a link: expected the link's interface as well, such as {ip}%eth0"
        ))),
        None => Ok(fitting),
    }
}

fn no_address(target: &Target, reason: &dyn fmt::Display) -> Failure {
    Failure::NoConnection(format!("no address for {}: {reason}", target.host))
}

/// Returns the probe, with the local address and the interface of the settings.
pub(crate) fn connect_from(
    probe: Probe,
    settings: &config::file::Probe,
    server: SocketAddr,
) -> Probe {
    let probe = source(settings, server).into_iter().fold(probe, Probe::bind);
    settings.interface.get().into_iter().fold(probe, Probe::interface)
}

/// Returns the local address of the settings, as connections to this server are bound to it.
pub(crate) fn source(settings: &config::file::Probe, server: SocketAddr) -> Option<SocketAddr> {
    settings.source.get().map(|ip| match (ip, server) {
        // A link-local address is bound to the link that the server's address names.
        (IpAddr::V6(ip), SocketAddr::V6(server)) => {
            SocketAddrV6::new(ip, 0, 0, server.scope_id()).into()
        }
        _ => SocketAddr::new(ip, 0),
    })
}

/// Checks the local address and the interface of the settings, before connections fail.
pub(crate) fn check_local(
    settings: &config::file::Probe,
    server: SocketAddr,
) -> Result<(), Failure> {
    settings.source.get().map_or(Ok(()), |source| check_source(source, server))?;
    settings.interface.get().map_or(Ok(()), check_interface)
}

/// Checks that connections can be made from this address.
pub(crate) fn check_source(source: IpAddr, server: SocketAddr) -> Result<(), Failure> {
    let refused = |why: String| Err(Failure::Unusable(format!("--source {source}: {why}")));
    if source.is_ipv4() != server.is_ipv4() {
        let family = if server.is_ipv4() { "IPv4" } else { "IPv6" };
        return refused(format!(
            "expected an {family} address, because the server's is {}",
            server.ip()
        ));
    }
    let bound = match (source, server) {
        (IpAddr::V6(ip), SocketAddr::V6(server)) => {
            TcpListener::bind(SocketAddrV6::new(ip, 0, 0, server.scope_id()))
        }
        _ => TcpListener::bind((source, 0)),
    };
    match bound {
        Ok(_) => Ok(()),
        Err(e) => refused(format!(
            "expected an address of this host (`ip address` lists them): {}",
            error_chain(&e)
        )),
    }
}

/// Checks that connections can be made by this interface.
pub(crate) fn check_interface(name: &str) -> Result<(), Failure> {
    let refused = |e: &dyn error::Error| {
        Failure::Unusable(format!(
            "--interface {name}: expected a network interface of this host (`ls /sys/class/net` lists them): {}",
            error_chain(e)
        ))
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| refused(&e))?;
    option::set_bind_to_device(&socket, name).map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => Failure::Unusable(format!(
            "--interface {name}: kernels before 5.7 allow it only with CAP_NET_RAW: run it with sudo"
        )),
        _ => refused(&e),
    })
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
    local_address_by(server, None)
}

/// Returns the address that this host would connect from by this interface, or by that of the route.
pub(crate) fn local_address_by(server: SocketAddr, interface: Option<&str>) -> Option<IpAddr> {
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    interface.map_or(Ok(()), |name| option::set_bind_to_device(&socket, name)).ok()?;
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
