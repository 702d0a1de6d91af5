//! Commands to paste. None of them writes an address together with a port, so IPv6 needs no brackets.

use std::net::SocketAddr;

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

/// A message that fits the SYN.
pub(super) fn small(target: SocketAddr, bytes: u32) -> String {
    format!("`tfo-client -s {} -p {} --size {bytes}B`", host(target), target.port())
}

/// What fast open saves, in pairs with regular connections.
pub(super) fn compare(target: SocketAddr) -> String {
    format!("`tfo-client compare -s {} -p {}`", host(target), target.port())
}

/// How far regular SYNs come, hop by hop.
pub(super) fn path(target: SocketAddr) -> String {
    format!("`tfo-client path -s {} -p {}`", host(target), target.port())
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

/// Finds the hop that does it, from the client and without privilege: which one changes, drops or answers SYNs.
pub(super) fn hops(facts: &Facts<'_>) -> String {
    let Some(target) = facts.target() else {
        return "`tfo-client path HOST`".to_owned();
    };
    let path = match facts.server {
        // A mirror answers with what arrives.
        Some(_) => {
            format!("`tfo-client path -s {} -p {} --to-target`", host(target), target.port())
        }
        None => path(target),
    };
    match facts.view() {
        View::Client => path,
        View::Server => format!("{path} on the client"),
    }
}

/// Shows all packets of this connection's hosts and port, in either family.
pub(super) fn capture(facts: &Facts<'_>) -> String {
    let peer = match facts.view() {
        View::Client => facts.target().map(|target| target.ip()),
        View::Server => facts.server.map(|server| server.source.ip()),
    };
    let port = facts.target().map_or(0, |target| target.port());
    match peer {
        Some(ip) => {
            format!("`sudo tcpdump -vni any 'host {} and tcp port {port}'`", ip.to_canonical())
        }
        None => "`sudo tcpdump -vni any tcp`".to_owned(),
    }
}

/// Names the listener in question where its queues are shown.
pub(super) fn doctor(facts: &Facts<'_>) -> String {
    let listener = match facts.target() {
        Some(target) => format!("the listener on port {}", target.port()),
        None => "each listener".to_owned(),
    };
    let here = on_server(facts);
    format!("`tfo-client doctor` {here} shows {listener}, its queues and how often they were full")
}

/// Where the server's commands belong.
pub(super) fn on_server(facts: &Facts<'_>) -> &'static str {
    match facts.view() {
        View::Client => "on the server",
        View::Server => "on this host",
    }
}

/// Show the cookie that is cached for this server.
pub(super) fn cookie(target: SocketAddr) -> String {
    format!("`tfo-client cookies show {}`", target.ip().to_canonical())
}

/// Writes `net.ipv4.tcp_fastopen`: both halves on, with cookies, so that no advice undoes another.
pub(super) fn set_tcp_fastopen(seen: Option<FastOpenFlags>) -> String {
    set_with(seen, 0)
}

/// [`set_tcp_fastopen`], with fast open for listeners that do not ask for it.
pub(super) fn set_for_all_listeners(seen: Option<FastOpenFlags>) -> String {
    set_with(seen, ALL_LISTENERS)
}

/// 0x400, which each recommended value keeps.
const ALL_LISTENERS: u32 = 0x400;

fn set_with(seen: Option<FastOpenFlags>, bits: u32) -> String {
    let value = match seen {
        Some(seen) => (seen.recommended().bits() | bits).to_string(),
        None if bits == 0 => {
            format!("$(( $(sysctl -n net.ipv4.tcp_fastopen) & {ALL_LISTENERS} | 3 ))")
        }
        None => (FastOpenFlags::new(0).recommended().bits() | bits).to_string(),
    };
    format!("`sudo sysctl -w net.ipv4.tcp_fastopen={value}`")
}

/// Shows the route to this server. An address of a link has the route of its link.
pub(super) fn route(target: SocketAddr) -> String {
    match target {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => "`ip -6 route`".to_owned(),
        _ => format!("`ip route get {}`", target.ip().to_canonical()),
    }
}

/// The address alone, with the scope that a link-local one needs.
pub(super) fn host(target: SocketAddr) -> String {
    match target {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => target.ip().to_canonical().to_string(),
    }
}
