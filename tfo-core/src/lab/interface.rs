//! Interfaces, addresses and neighbours of the calling thread's network namespace, over rtnetlink.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::error::{Error, Result};
use crate::host::netlink::Netlink;
use crate::uapi::route::{RTA_METRICS, RTAX_FASTOPEN_NO_COOKIE};
use crate::uapi::{VETH_INFO_PEER, neighbour};
use crate::wire::netlink::Request;

/// Loopback is the first interface of every namespace.
pub(super) const LOOPBACK: u32 = 1;
/// The number of a host's own interface, `eth0`.
pub(super) const ETH0: u32 = 10;

/// The size of `struct ifinfomsg`.
const INTERFACE_HEADER: usize = 16;
/// `IF_OPER_UP` of <linux/if.h>.
const OPER_UP: u8 = 6;
/// Far more time than the kernel needs.
const UP_LIMIT: Duration = Duration::from_secs(5);

/// Keeps the host in the middle from taking part in IPv6 on its own.
pub(super) fn silence_ipv6() -> Result<()> {
    if !has_ipv6() {
        return Ok(());
    }
    for which in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        fs::write(&path, "1").map_err(|e| Error::system("write", path, e))?;
    }
    Ok(())
}

/// Returns whether this machine's kernel has IPv6. Without it (`ipv6.disable=1`) hosts have only IPv4.
#[must_use]
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf/all/disable_ipv6").exists()
}

/// Returns whether the kernel supports the family of an address.
pub(super) fn usable(address: IpAddr) -> bool {
    address.is_ipv4() || has_ipv6()
}

/// Brings the loopback interface of the calling thread's namespace up.
pub(super) fn loopback_up() -> Result<()> {
    set_up(LOOPBACK)
}

/// Creates a veth pair: one end here, with this number and name; the other is `eth0` in the namespace of this file
/// descriptor.
pub(super) fn make_veth((index, name): (u32, &str), peer_namespace: i32) -> Result<()> {
    let build = |sequence| {
        let flags = flags(libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        Request::new(libc::RTM_NEWLINK, flags, sequence)
            .raw(&interface(index, 0))
            .text(libc::IFLA_IFNAME, name)
            .nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nested(libc::IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.raw(&interface(ETH0, 0))
                            .text(libc::IFLA_IFNAME, "eth0")
                            .attribute(libc::IFLA_NET_NS_FD, &peer_namespace.to_ne_bytes())
                    })
                })
            })
    };
    route()?.request("making", "a veth pair", build, |_| Ok(()))
}

pub(super) fn set_up(index: u32) -> Result<()> {
    let up = libc::IFF_UP.unsigned_abs();
    let build = |sequence| Request::new(libc::RTM_NEWLINK, 0, sequence).raw(&interface(index, up));
    route()?.request("bringing up interface", &index.to_string(), build, |_| Ok(()))
}

/// Waits until an interface sends packets. The kernel detects the carrier in a worker of its own, and silently
/// drops packets until then.
pub(super) fn wait_until_up(index: u32) -> Result<()> {
    let name = index.to_string();
    wait_until("waiting for interface", &name, || {
        let mut is_up = false;
        let build =
            |sequence| Request::new(libc::RTM_GETLINK, 0, sequence).raw(&interface(index, 0));
        route()?.request("looking at interface", &name, build, |message| {
            for attribute in message.attributes(INTERFACE_HEADER) {
                let attribute = attribute?;
                is_up |= attribute.kind == libc::IFLA_OPERSTATE && attribute.value == [OPER_UP];
            }
            Ok(())
        })?;
        Ok(is_up)
    })?;
    // Waits for the worker's lock: the worker starts the queue after it has set the state.
    set_up(index)
}

/// Waits until the calling thread's host accepts packets to its address. For IPv6 the kernel adds the route in a
/// worker, even without duplicate address detection.
pub(super) fn wait_until_own(address: IpAddr) -> Result<()> {
    /// The offset of the type in `struct rtmsg`.
    const TYPE: usize = 7;
    let name = address.to_string();
    wait_until("waiting for address", &name, || {
        let mut header = [0; 12];
        header[0] = family(address);
        header[1] = if address.is_ipv4() { 32 } else { 128 };
        let build = |sequence| {
            Request::new(libc::RTM_GETROUTE, 0, sequence).raw(&header).address(
                libc::RTA_DST,
                libc::RTA_DST,
                address,
            )
        };
        let mut is_own = false;
        let asked = route()?.request("looking at the route to", &name, build, |message| {
            is_own |= message.payload.get(TYPE) == Some(&libc::RTN_LOCAL);
            Ok(())
        });
        match asked {
            // There is no route at all yet.
            Err(e) if e.kind() == io::ErrorKind::NetworkUnreachable => Ok(false),
            asked => asked.map(|()| is_own),
        }
    })
}

fn wait_until(
    operation: &'static str,
    object: &str,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > UP_LIMIT {
            return Err(Error::system(operation, object, io::ErrorKind::TimedOut.into()));
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

pub(super) fn set_hardware_address(index: u32, address: [u8; 6]) -> Result<()> {
    let build = |sequence| {
        Request::new(libc::RTM_NEWLINK, 0, sequence)
            .raw(&interface(index, 0))
            .attribute(libc::IFLA_ADDRESS, &address)
    };
    route()?.request("setting the address of interface", &index.to_string(), build, |_| Ok(()))
}

pub(super) fn add_address(index: u32, address: IpAddr, prefix: u8) -> Result<()> {
    // `struct ifaddrmsg`: family, prefix length, flags, scope, index. Without duplicate address detection, which
    // would delay the use of an IPv6 address.
    let nodad = u8::try_from(libc::IFA_F_NODAD).unwrap_or(0);
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [family(address), prefix, nodad, 0, a, b, c, d];
    let build = |sequence| {
        Request::new(libc::RTM_NEWADDR, flags(libc::NLM_F_CREATE), sequence)
            .raw(&header)
            .address(libc::IFA_LOCAL, libc::IFA_LOCAL, address)
            .address(libc::IFA_ADDRESS, libc::IFA_ADDRESS, address)
    };
    route()?.request("adding address", &address.to_string(), build, |_| Ok(()))
}

/// Adds a neighbour, so that the first packet does not wait for ARP.
pub(super) fn add_neighbour(index: u32, address: IpAddr, hardware: [u8; 6]) -> Result<()> {
    // `struct ndmsg`: family, padding, index, state, flags, type.
    let mut header = [0; 12];
    header[0] = family(address);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    let build = |sequence| {
        let flags = flags(libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        Request::new(libc::RTM_NEWNEIGH, flags, sequence)
            .raw(&header)
            .address(neighbour::DST, neighbour::DST, address)
            .attribute(neighbour::LLADDR, &hardware)
    };
    route()?.request("adding neighbour", &address.to_string(), build, |_| Ok(()))
}

/// `struct rtmsg`: family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
fn static_route(of: IpAddr, scope: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family(of);
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_STATIC;
    header[6] = scope;
    header[7] = libc::RTN_UNICAST;
    header
}

pub(super) fn add_route_without_cookies(index: u32, destination: IpAddr) -> Result<()> {
    let mut header = static_route(destination, libc::RT_SCOPE_LINK);
    header[1] = if destination.is_ipv4() { 32 } else { 128 };
    let build = |sequence| {
        Request::new(libc::RTM_NEWROUTE, flags(libc::NLM_F_CREATE), sequence)
            .raw(&header)
            .address(libc::RTA_DST, libc::RTA_DST, destination)
            .attribute(libc::RTA_OIF, &index.to_ne_bytes())
            .nested(RTA_METRICS, |metrics| {
                metrics.attribute(RTAX_FASTOPEN_NO_COOKIE, &1_u32.to_ne_bytes())
            })
    };
    route()?.request("adding a route to", &destination.to_string(), build, |_| Ok(()))
}

pub(super) fn add_default_route(index: u32, gateway: IpAddr) -> Result<()> {
    let header = static_route(gateway, libc::RT_SCOPE_UNIVERSE);
    let build = |sequence| {
        Request::new(libc::RTM_NEWROUTE, flags(libc::NLM_F_CREATE), sequence)
            .raw(&header)
            .address(libc::RTA_GATEWAY, libc::RTA_GATEWAY, gateway)
            .attribute(libc::RTA_OIF, &index.to_ne_bytes())
    };
    route()?.request("adding a route through", &gateway.to_string(), build, |_| Ok(()))
}

fn route() -> Result<Netlink> {
    Netlink::open(libc::NETLINK_ROUTE)
}

/// `struct ifinfomsg`: family, padding, type, index, flags, and the mask of flags to change.
fn interface(index: u32, flags: u32) -> [u8; INTERFACE_HEADER] {
    let mut header = [0; INTERFACE_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or(0)
}

fn flags(flags: libc::c_int) -> u16 {
    u16::try_from(flags).unwrap_or(0)
}
