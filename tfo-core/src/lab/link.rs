//! Joins hosts by veth pairs, with the addresses of [`address`](super::address).

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use super::Host;
use super::address::{CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6};
use super::interface::{
    ETH0, add_address, add_default_route, add_neighbour, make_veth, set_hardware_address, set_up,
    usable, wait_until_own, wait_until_up,
};
use crate::error::{Error, Result};
use crate::sys::packet;
use crate::uapi::ethtool;

/// The number of the first interface of the host in the middle.
pub(super) const FIRST_PORT: u32 = 20;

/// One end of the path.
#[derive(Debug)]
pub(super) struct End {
    hardware: [u8; 6],
    addresses: [(IpAddr, u8); 2],
    /// The address of the other end, in both families.
    others: [IpAddr; 2],
    other_hardware: [u8; 6],
}

const CLIENT_HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub(super) const CLIENT: End = End {
    hardware: CLIENT_HARDWARE,
    addresses: [(IpAddr::V4(CLIENT_V4), 24), (IpAddr::V6(CLIENT_V6), 64)],
    others: [IpAddr::V4(SERVER_V4), IpAddr::V6(SERVER_V6)],
    other_hardware: SERVER_HARDWARE,
};

pub(super) const SERVER: End = End {
    hardware: SERVER_HARDWARE,
    addresses: [(IpAddr::V4(SERVER_V4), 24), (IpAddr::V6(SERVER_V6), 64)],
    others: [IpAddr::V4(CLIENT_V4), IpAddr::V6(CLIENT_V6)],
    other_hardware: CLIENT_HARDWARE,
};

/// Joins two hosts by a veth pair, without a path between them: `eth0` on both, with the addresses of
/// [`Network`](super::Network).
///
/// # Errors
/// The kernel refused the veth pair.
pub fn join(client: &Host, server: &Host) -> Result<()> {
    let namespace = namespace(server)?;
    client.run(move || {
        make_veth((ETH0, "eth0"), namespace.as_raw_fd())?;
        configure(&CLIENT)
    })?;
    server.run(|| configure(&SERVER))?;
    client.run(|| wait_until_ready(&CLIENT))?;
    server.run(|| wait_until_ready(&SERVER))
}

/// Joins a host to the one in the middle. Turns offloads off, so that the middle sees complete packets with
/// checksums.
pub(super) fn attach(middle: &Host, port: u32, host: &Host, end: &'static End) -> Result<()> {
    let namespace = namespace(host)?;
    middle.run(move || make_veth((port, &format!("port{port}")), namespace.as_raw_fd()))?;
    host.run(move || {
        configure(end)?;
        for command in [ethtool::STXCSUM, ethtool::STSO, ethtool::SGSO, ethtool::SGRO] {
            packet::turn_offload_off("eth0", command)
                .map_err(|e| Error::system("turning an offload off on", "eth0", e))?;
        }
        // Other addresses behind the path, such as a translated one, are reached through the other end.
        for other in end.others.into_iter().filter(|other| usable(*other)) {
            add_neighbour(ETH0, other, end.other_hardware)?;
            add_default_route(ETH0, other)?;
        }
        Ok(())
    })?;
    middle.run(move || set_up(port))?;
    host.run(|| wait_until_ready(end))?;
    middle.run(move || wait_until_up(port))
}

fn configure(end: &End) -> Result<()> {
    set_hardware_address(ETH0, end.hardware)?;
    for (address, prefix) in end.addresses.into_iter().filter(|(address, _)| usable(*address)) {
        add_address(ETH0, address, prefix)?;
    }
    set_up(ETH0)
}

/// Waits until the calling thread's host can send and receive at this end.
fn wait_until_ready(end: &End) -> Result<()> {
    wait_until_up(ETH0)?;
    let own = end.addresses.into_iter().map(|(address, _)| address);
    own.filter(|address| usable(*address)).try_for_each(wait_until_own)
}

fn namespace(host: &Host) -> Result<std::os::fd::OwnedFd> {
    let owned = host.as_fd().try_clone_to_owned();
    owned.map_err(|e| Error::system("duplicating the namespace of host", host.name(), e))
}
