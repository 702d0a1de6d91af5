//! Interfaces and addresses of hosts, over rtnetlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::Host;
use crate::error::{Error, Result};
use crate::host::netlink::Netlink;
use crate::uapi::VETH_INFO_PEER;
use crate::wire::netlink::Request;

/// The first host of [`join`].
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The second host of [`join`].
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The first host of [`join`].
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The second host of [`join`].
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// Loopback is the first interface of each namespace.
const LOOPBACK: u32 = 1;
/// For a carrier, which takes a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// The number that the joined interface has on both hosts.
const JOINED: u32 = 10;

/// Joins two hosts by a veth pair named `eth0` on both, with the addresses of the documentation
/// networks (RFC 5737, RFC 3849): [`CLIENT_V4`] and [`CLIENT_V6`] on the first, [`SERVER_V4`] and
/// [`SERVER_V6`] on the second.
///
/// # Errors
/// The kernel refuses veth pairs, or IPv6 is off.
pub fn join(client: &Host, server: &Host) -> Result<()> {
    let peer = server.as_fd().try_clone_to_owned();
    let peer = peer.map_err(|e| Error::system("duplicating", "a namespace", e))?;
    client.run(move || {
        make_veth(peer.as_raw_fd().unsigned_abs())?;
        configure(JOINED, &[(CLIENT_V4.into(), 24), (CLIENT_V6.into(), 64)])
    })?;
    server.run(|| configure(JOINED, &[(SERVER_V4.into(), 24), (SERVER_V6.into(), 64)]))?;
    // The end that was up first drops what it is to send until the kernel has noticed the other.
    client.run(|| wait_operational(JOINED))?;
    server.run(|| wait_operational(JOINED))
}

impl Host {
    /// Gives this host another address on its loopback interface.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        self.run(move || add_address(LOOPBACK, address, prefix))
    }
}

/// Brings the loopback interface of the calling thread's namespace up.
pub(super) fn loopback_up() -> Result<()> {
    set_up(LOOPBACK)
}

fn configure(index: u32, addresses: &[(IpAddr, u8)]) -> Result<()> {
    for (address, prefix) in addresses {
        add_address(index, *address, *prefix)?;
    }
    set_up(index)
}

/// Makes a veth pair: one end here, the other in the namespace of this descriptor.
fn make_veth(peer_namespace: u32) -> Result<()> {
    let build = |sequence| {
        let flags = flags(libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        Request::new(libc::RTM_NEWLINK, flags, sequence)
            .raw(&interface(JOINED, 0))
            .text(libc::IFLA_IFNAME, "eth0")
            .nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nested(libc::IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.raw(&interface(JOINED, 0))
                            .text(libc::IFLA_IFNAME, "eth0")
                            .attribute(libc::IFLA_NET_NS_FD, &peer_namespace.to_ne_bytes())
                    })
                })
            })
    };
    route()?.request("making", "a veth pair", build, |_| Ok(()))
}

fn set_up(index: u32) -> Result<()> {
    let build = |sequence| {
        Request::new(libc::RTM_NEWLINK, 0, sequence)
            .raw(&interface(index, libc::IFF_UP.unsigned_abs()))
    };
    route()?.request("bringing up", &format!("interface {index}"), build, |_| Ok(()))
}

/// Waits until an interface that was brought up has a carrier, and sends.
fn wait_operational(index: u32) -> Result<()> {
    let mut route = route()?;
    let deadline = Instant::now() + PATIENCE;
    while !is_operational(&mut route, index)? {
        if Instant::now() >= deadline {
            let interface = format!("interface {index}");
            return Err(Error::system("waiting for", interface, io::ErrorKind::TimedOut.into()));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn is_operational(route: &mut Netlink, index: u32) -> Result<bool> {
    let mut up = false;
    let build = |sequence| Request::new(libc::RTM_GETLINK, 0, sequence).raw(&interface(index, 0));
    route.request("looking at", &format!("interface {index}"), build, |message| {
        for attribute in message.attributes(interface(0, 0).len()) {
            let attribute = attribute?;
            let state = attribute.value.first().copied().map(i32::from);
            up |= attribute.kind == libc::IFLA_OPERSTATE && state == Some(libc::IF_OPER_UP);
        }
        Ok(())
    })?;
    Ok(up)
}

fn add_address(index: u32, address: IpAddr, prefix: u8) -> Result<()> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // `struct ifaddrmsg`: family, prefix length, flags, scope, index. Without duplicate address
    // detection, which would keep an IPv6 address waiting.
    let nodad = u8::try_from(libc::IFA_F_NODAD).unwrap_or(0);
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [u8::try_from(family).unwrap_or(0), prefix, nodad, 0, a, b, c, d];
    let build = |sequence| {
        let request =
            Request::new(libc::RTM_NEWADDR, flags(libc::NLM_F_CREATE), sequence).raw(&header);
        let request = request.address(libc::IFA_LOCAL, libc::IFA_LOCAL, address);
        request.address(libc::IFA_ADDRESS, libc::IFA_ADDRESS, address)
    };
    route()?.request("adding address", &address.to_string(), build, |_| Ok(()))
}

fn route() -> Result<Netlink> {
    Netlink::open(libc::NETLINK_ROUTE)
}

/// `struct ifinfomsg`: family, padding, type, index, flags, and the mask of flags to change.
fn interface(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn flags(flags: libc::c_int) -> u16 {
    u16::try_from(flags).unwrap_or(0)
}
