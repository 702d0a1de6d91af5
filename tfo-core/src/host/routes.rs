//! Routes without cookies: `ip route … fastopen_no_cookie 1`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::netlink::Netlink;
use crate::sys;
use crate::uapi::route as uapi;
use crate::wire::bytes::array_at;
use crate::wire::netlink::{Attribute, Message, NLM_F_DUMP, Request};
use crate::{Error, Result};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// How often to list the routes if they change meanwhile.
const ATTEMPTS: usize = 4;

/// A route with `fastopen_no_cookie`: SYNs that leave by it carry data without a cookie, and data of SYNs whose
/// answer leaves by it is accepted without one, forged SYNs included.
///
/// `Display` formats it as `ip route` takes it.
///
/// # References
/// - [`ip-route(8)`](https://man7.org/linux/man-pages/man8/ip-route.8.html)
/// - [`include/uapi/linux/rtnetlink.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/rtnetlink.h)
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Route {
    /// The destination network.
    pub destination: IpAddr,
    /// The number of significant bits of the destination; 0: the default route.
    pub prefix: u8,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub interface: Option<String>,
    /// The routing table; 254 is the main one.
    pub table: u32,
    /// The route's preference, the lowest first. It distinguishes IPv6 routes.
    pub metric: Option<u32>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            0 => f.write_str("default")?,
            prefix => write!(f, "{}/{prefix}", self.destination)?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " dev {interface}")?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        if self.table != uapi::RT_TABLE_MAIN {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}

/// Returns the routes with `fastopen_no_cookie`, IPv4 first.
///
/// Reads all routes of all tables, which takes a while on a router with a full table.
///
/// # Errors
/// [`Error::System`](crate::Error::System) if the kernel refuses,
/// [`Error::Malformed`](crate::Error::Malformed) if its answer can't be understood.
#[doc(alias = "RTAX_FASTOPEN_NO_COOKIE")]
pub fn routes_without_cookie() -> Result<Vec<Route>> {
    let mut netlink = Netlink::open(libc::NETLINK_ROUTE)?;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        found.append(&mut list(&mut netlink, family)?);
    }
    Ok(found)
}

/// The route that a TCP connection from this host would take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TcpRoute {
    /// The source address that the kernel would choose.
    pub(crate) source: Option<IpAddr>,
    /// Whether it has `fastopen_no_cookie`.
    pub(crate) without_cookie: bool,
}

/// The route of a TCP connection to this address, rules for the protocol and the port included. `source` and
/// `interface` are those that the connection is bound to. Sends nothing.
///
/// # Errors
/// [`Error::System`](crate::Error::System) if there is no route or the kernel refuses,
/// [`Error::Malformed`](crate::Error::Malformed) if its answer can't be understood.
#[doc(alias = "RTM_GETROUTE")]
pub(crate) fn tcp_route(
    destination: SocketAddr,
    source: Option<IpAddr>,
    interface: Option<&str>,
) -> Result<TcpRoute> {
    let ip = destination.ip();
    let mut header = [0; uapi::HEADER_SIZE];
    // The kernel ignores an address without its prefix length.
    (header[0], header[uapi::PREFIX]) = if ip.is_ipv4() { (AF_INET, 32) } else { (AF_INET6, 128) };
    if source.is_some() {
        header[uapi::SOURCE_PREFIX] = header[uapi::PREFIX];
    }
    let scope = match (destination, interface) {
        (_, Some(name)) => Some(
            sys::interface::index(name).map_err(|e| Error::system("find interface", name, e))?,
        ),
        (SocketAddr::V6(v6), None) if v6.scope_id() != 0 => Some(v6.scope_id()),
        _ => None,
    };
    let request = |sequence| {
        let request = Request::new(uapi::RTM_GETROUTE, 0, sequence)
            .raw(&header)
            .address(uapi::RTA_DST, uapi::RTA_DST, ip)
            .attribute(uapi::RTA_IP_PROTO, &[IPPROTO_TCP])
            .attribute(uapi::RTA_DPORT, &destination.port().to_be_bytes());
        let request = match source {
            Some(source) => request.address(uapi::RTA_SRC, uapi::RTA_SRC, source),
            None => request,
        };
        match scope {
            Some(interface) => request.attribute(uapi::RTA_OIF, &interface.to_ne_bytes()),
            None => request,
        }
    };
    // The kernel's answer does not repeat a source that it was given.
    let mut route = TcpRoute { source, ..TcpRoute::default() };
    Netlink::open(libc::NETLINK_ROUTE)?.request(
        "read route to",
        &ip.to_string(),
        request,
        |message| {
            for attribute in message.attributes(uapi::HEADER_SIZE) {
                let attribute = attribute?;
                match attribute.kind {
                    uapi::RTA_PREFSRC => {
                        let source = if ip.is_ipv4() { attribute.ipv4() } else { attribute.ipv6() };
                        route.source = Some(source?);
                    }
                    uapi::RTA_METRICS => route.without_cookie = has_no_cookie(&attribute)?,
                    _ => {}
                }
            }
            Ok(())
        },
    )?;
    Ok(route)
}

/// Whether these metrics have `fastopen_no_cookie`.
fn has_no_cookie(metrics: &Attribute<'_>) -> Result<bool> {
    for metric in metrics.nested() {
        let metric = metric?;
        if metric.kind == uapi::RTAX_FASTOPEN_NO_COOKIE {
            return Ok(metric.u32()? != 0);
        }
    }
    Ok(false)
}

fn list(netlink: &mut Netlink, family: u8) -> Result<Vec<Route>> {
    let mut attempt = 1;
    loop {
        let mut found = Vec::new();
        let mut header = [0; uapi::HEADER_SIZE];
        header[0] = family;
        let request =
            |sequence| Request::new(uapi::RTM_GETROUTE, NLM_F_DUMP, sequence).raw(&header);
        let answer = netlink.request("list", "routes", request, |message| {
            if let Some((route, index)) = parse(message, family)? {
                let interface = index.and_then(|index| sys::interface::name(index).ok());
                found.push(Route { interface, ..route });
            }
            Ok(())
        });
        match answer {
            Ok(()) => return Ok(found),
            // The routes changed meanwhile.
            Err(e) if e.kind() == io::ErrorKind::Interrupted && attempt < ATTEMPTS => attempt += 1,
            // The kernel has no IPv6.
            Err(e) if family == AF_INET6 && e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        }
    }
}

/// Returns the route in this message with the number of its interface, if it uses no cookies.
fn parse(message: &Message<'_>, family: u8) -> Result<Option<(Route, Option<u32>)>> {
    // Without this family the kernel lists the routes of other families.
    if message.payload.first() != Some(&family) {
        return Ok(None);
    }
    let byte = |at| message.payload.get(at).copied().unwrap_or_default();
    let flags = array_at(message.payload, uapi::FLAGS).map_or(0, u32::from_ne_bytes);
    let any: IpAddr =
        if family == AF_INET { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut route = Route {
        destination: any,
        prefix: byte(uapi::PREFIX),
        gateway: None,
        interface: None,
        table: byte(uapi::TABLE).into(),
        metric: None,
    };
    let mut interface = None;
    let mut no_cookie = false;
    for attribute in message.attributes(uapi::HEADER_SIZE) {
        let attribute = attribute?;
        let address = || if family == AF_INET { attribute.ipv4() } else { attribute.ipv6() };
        match attribute.kind {
            uapi::RTA_DST => route.destination = address()?,
            uapi::RTA_GATEWAY => route.gateway = Some(address()?),
            uapi::RTA_OIF => interface = Some(attribute.u32()?),
            uapi::RTA_PRIORITY => route.metric = Some(attribute.u32()?),
            uapi::RTA_TABLE => route.table = attribute.u32()?,
            uapi::RTA_METRICS => no_cookie = has_no_cookie(&attribute)?,
            _ => {}
        }
    }
    // A cached route is only a copy of another.
    Ok((no_cookie && flags & uapi::RTM_F_CLONED == 0).then_some((route, interface)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::netlink::Messages;

    fn answer(no_cookie: u32, flags: u32) -> Vec<u8> {
        let mut header = [0; uapi::HEADER_SIZE];
        header[..5].copy_from_slice(&[AF_INET, 24, 0, 0, 254]);
        header[8..].copy_from_slice(&flags.to_ne_bytes());
        Request::new(24, 0, 1)
            .raw(&header)
            .attribute(uapi::RTA_DST, &[203, 0, 113, 0])
            .attribute(uapi::RTA_GATEWAY, &[192, 0, 2, 2])
            .attribute(uapi::RTA_OIF, &7_u32.to_ne_bytes())
            .nested(uapi::RTA_METRICS, |metrics| {
                metrics.attribute(uapi::RTAX_FASTOPEN_NO_COOKIE, &no_cookie.to_ne_bytes())
            })
            .finish()
            .expect("short")
    }

    fn read(bytes: &[u8], family: u8) -> Option<(Route, Option<u32>)> {
        parse(&Messages::new(bytes).next().unwrap().unwrap(), family).expect("well-formed")
    }

    #[test]
    fn route_without_cookies_is_formatted_for_ip_route() {
        let (route, interface) = read(&answer(1, 0), AF_INET).expect("it goes without cookies");
        assert_eq!(interface, Some(7));
        let route = Route { interface: Some("eth0".to_owned()), ..route };
        assert_eq!(route.to_string(), "203.0.113.0/24 via 192.0.2.2 dev eth0");
        let other = Route { prefix: 0, table: 100, metric: Some(5), gateway: None, ..route };
        assert_eq!(other.to_string(), "default dev eth0 metric 5 table 100");
    }

    #[test]
    fn other_routes_are_passed_over() {
        assert_eq!(read(&answer(0, 0), AF_INET), None, "it asks for cookies");
        assert_eq!(read(&answer(1, uapi::RTM_F_CLONED), AF_INET), None, "it is a cached one");
        assert_eq!(read(&answer(1, 0), AF_INET6), None, "it is of the other family");
    }

    #[test]
    fn this_hosts_routes_can_be_listed() {
        routes_without_cookie().expect("anybody may ask");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(at in 0..90_usize, value: u8, keep in 0..90_usize) {
            let mut bytes = answer(1, 0);
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            bytes.truncate(keep);
            for message in Messages::new(&bytes).flatten() {
                for family in [AF_INET, AF_INET6] {
                    let _ = parse(&message, family);
                }
            }
        }
    }
}
