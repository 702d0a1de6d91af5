//! Commands to paste. None of them writes an address together with a port, so IPv6 needs no brackets.

use std::net::{IpAddr, SocketAddr};

use super::facts::{Facts, View};
use crate::host::FastOpenFlags;

/// Returns the command that probes this server `count` times.
pub(super) fn probe(facts: &Facts<'_>, count: u32) -> String {
    match facts.target() {
        Some(target) => {
            format!("`tfo-client -s {} -p {} -n {count}`", host(target), target.port())
        }
        None => format!("`tfo-client -s HOST -n {count}`"),
    }
}

/// A regular connection to the same port.
pub(super) fn regular(target: SocketAddr) -> String {
    format!("`tfo-client -s {} -p {} -n 1 --mode off`", host(target), target.port())
}

/// Put the mirror at the other end, and probe it: it sees what arrives.
pub(super) fn mirror(target: SocketAddr) -> String {
    let any = if target.ip().to_canonical().is_ipv4() { "0.0.0.0" } else { "::" };
    format!(
        "run `tfo-server -a {any}` on the server and `tfo-client -s {} -n 3` here, \
         its mirror shows what arrives",
        host(target)
    )
}

/// Find the hop that does it: with the client, which needs no privilege; for a server by a capture.
pub(super) fn hops(facts: &Facts<'_>) -> String {
    match (facts.view(), facts.target()) {
        (View::Client, Some(target)) => {
            // A mirror answers with what arrives.
            let mirror = if facts.server.is_some() { " --to-target" } else { "" };
            format!("`tfo-client path -s {} -p {}{mirror}`", host(target), target.port())
        }
        _ => format!("capture on both ends: {}", capture(facts)),
    }
}

/// How far SYNs to this target get.
pub(super) fn path(target: SocketAddr) -> String {
    format!("`tfo-client path -s {} -p {}`", host(target), target.port())
}

/// Watch the SYNs and SYN-ACKs of this connection's hosts. `tcp[..]` matches IPv4 alone.
pub(super) fn capture(facts: &Facts<'_>) -> String {
    let peer = match facts.view() {
        View::Client => facts.target().map(|target| target.ip()),
        View::Server => facts.server.map(|server| server.source.ip()),
    };
    let port = facts.target().map_or(0, |target| target.port());
    match peer.map(|ip| ip.to_canonical()) {
        Some(ip @ IpAddr::V4(_)) => format!(
            "`sudo tcpdump -vni any 'host {ip} and tcp port {port} and tcp[tcpflags] & tcp-syn != 0'`"
        ),
        Some(ip @ IpAddr::V6(_)) => {
            format!("`sudo tcpdump -vni any 'host {ip} and tcp port {port} and ip6[53] & 2 != 0'`")
        }
        None => "`sudo tcpdump -vni any 'tcp[tcpflags] & tcp-syn != 0'`".to_owned(),
    }
}

/// Show the cookie that is cached for this server.
pub(super) fn cookie(target: SocketAddr) -> String {
    format!("`ip tcp_metrics show {}`", target.ip().to_canonical())
}

/// Switch bits of `net.ipv4.tcp_fastopen` on and leave the others alone.
pub(super) fn switch_on(seen: Option<FastOpenFlags>, bits: u32) -> String {
    match seen {
        Some(seen) => format!("`sudo sysctl -w net.ipv4.tcp_fastopen={}`", seen.bits() | bits),
        None => format!(
            "`sudo sysctl -w net.ipv4.tcp_fastopen=$(( $(sysctl -n net.ipv4.tcp_fastopen) | {bits} ))`"
        ),
    }
}

/// Switch bits of `net.ipv4.tcp_fastopen` off and leave the others alone.
pub(super) fn switch_off(seen: Option<FastOpenFlags>, bits: u32) -> String {
    match seen {
        Some(seen) => format!("`sudo sysctl -w net.ipv4.tcp_fastopen={}`", seen.bits() & !bits),
        None => format!(
            "`sudo sysctl -w net.ipv4.tcp_fastopen=$(( $(sysctl -n net.ipv4.tcp_fastopen) & ~{bits} ))`"
        ),
    }
}

/// The address alone, with the scope that a link-local one needs.
fn host(target: SocketAddr) -> String {
    match target {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => target.ip().to_canonical().to_string(),
    }
}
