//! The next step for each cause, with its command.

use super::commands::{self, on_server};
use super::facts::Facts;
use crate::diagnosis::Cause;

/// What to do about a cause that is settled.
pub(super) fn against(facts: &Facts<'_>, cause: Cause) -> String {
    let on_server = on_server(facts);
    match cause {
        Cause::OptionStripped => {
            let then = if facts.server_enabled() == Some(false) {
                format!(" {}", against(facts, Cause::ServerDisabled))
            } else {
                String::new()
            };
            format!(
                "Find the box that removes the option, hop by hop: {}; a box that removes only kind 34 \
                 lets the second request pass, which uses kind 254: {}.{then}",
                commands::hops(facts),
                commands::probe(facts, 3)
            )
        }
        Cause::SynAckOptionStripped => format!(
            "Find the box that removes the option from SYN-ACKs, by captures from the server on, as SYNs with a small \
             TTL show only the other direction: {}; the next request uses kind 254, which such a box may let pass: {}.",
            commands::capture(facts),
            commands::probe(facts, 3)
        ),
        Cause::SynDataStripped | Cause::CookieCorrupted => format!(
            "Find the firewall or proxy that rewrites SYNs, hop by hop: {}.",
            commands::hops(facts)
        ),
        Cause::ServerDisabled => enable_server(facts),
        Cause::ServerSyncookies => match facts.server_host().map(|host| host.syncookies) {
            Some(2) => format!(
                "Use SYN cookies only under attack, {on_server}: \
                 `sudo sysctl -w net.ipv4.tcp_syncookies=1`."
            ),
            _ => format!(
                "SYN cookies are always used (setting 2) or the queue of SYNs is full; look \
                 {on_server}: `sysctl net.ipv4.tcp_syncookies net.ipv4.tcp_max_syn_backlog` and \
                 `tfo-client doctor`."
            ),
        },
        Cause::ServerWithoutCookies => use_cookies(facts),
        Cause::QueueFull => format!(
            "Make the queue longer, {on_server}: raise `fastopen-queue` in server.toml (or the value \
             of TCP_FASTOPEN) and, as that is clipped to it, `sudo sysctl -w net.core.somaxconn=4096`; \
             then restart the server; {}.",
            commands::doctor(facts)
        ),
        Cause::KeyMismatch => format!(
            "Repeat: {}; a key that was changed costs one miss, with the old key kept as backup none; a \
             miss every time means servers or listeners behind this address with different keys: give \
             them all the same, and compare: `sudo tfo-server keys show --sysctl` on each server.",
            commands::probe(facts, 3)
        ),
        Cause::AddressTranslated => format!(
            "Repeat: {}; if the next one is accepted the translation is stable and this cost one miss, \
             otherwise the address changes from connection to connection: pin it in the NAT.",
            commands::probe(facts, 3)
        ),
        Cause::DestinationTranslated => {
            "Let the balancer leave the destination address as it is (direct server return), or send each client \
             always to the same server: a cookie is made for the server's address too, so that the same key alone \
             does not help."
                .to_owned()
        }
        Cause::Proxied => format!(
            "Look for the proxy or balancer that ends TCP before the server, and switch fast open on there; \
             to see where it is: {}.",
            commands::hops(facts)
        ),
        Cause::PartlyAcknowledged => format!(
            "Find the proxy or firewall that answers in the server's place, hop by hop: {}.",
            commands::hops(facts)
        ),
        Cause::ClientWithoutCookies => use_cookies_here(facts),
        Cause::PathMtuExceeded => smaller_message(facts),
        Cause::AcceptQueueFull => format!(
            "Make the accept queue longer, {on_server}: raise `backlog` in server.toml (or the argument of `listen`) \
             and `sudo sysctl -w net.core.somaxconn=4096`, or let the program accept sooner; {}.",
            commands::doctor(facts)
        ),
        Cause::RegularFailsToo => format!(
            "Look at the path and the servers without fast open first: {}.",
            facts.target().map_or_else(String::new, commands::regular)
        ),
        other => format!("Look at what {other} means, and repeat: {}.", commands::probe(facts, 3)),
    }
}

/// What settles why it came to this broader cause, which the evidence leaves open.
pub(super) fn to_settle(facts: &Facts<'_>, broad: Option<Cause>, left: &[Cause]) -> String {
    let queue = if left.contains(&Cause::QueueFull) {
        format!(" For the queue: {}.", commands::doctor(facts))
    } else {
        String::new()
    };
    format!("{}{queue}", settle(facts, broad))
}

fn settle(facts: &Facts<'_>, broad: Option<Cause>) -> String {
    let again = commands::probe(facts, 3);
    let hint = match broad {
        Some(Cause::NoCookieReturned) => {
            ", at least 3 times, as the second request uses option kind 254"
        }
        Some(Cause::CookieRejected) => {
            ", as a changed key costs one miss, while a miss every time is different keys behind one \
             address or an address that keeps changing"
        }
        Some(Cause::DataNotAcked) => {
            ", as a full queue is sporadic and the other causes are constant"
        }
        _ => "",
    };
    match (facts.client, facts.server) {
        (Some(client), None) => format!(
            "To settle it, {}; also repeat: {again}{hint}.",
            commands::mirror(client.remote)
        ),
        (Some(_), Some(_)) => format!(
            "To settle it, repeat while no other client connects, so that the server's counters speak of \
             one connection, with SYNs saved there and the cookie cache readable here: {again}{hint}; or look at the \
             path, hop by hop: {}.",
            commands::hops(facts)
        ),
        (None, _) => format!(
            "To settle it, take the client's half too, on the client: {again}{hint}; or capture here: {}.",
            commands::capture(facts)
        ),
    }
}

fn smaller_message(facts: &Facts<'_>) -> String {
    let Some((client, mtu)) =
        facts.client.and_then(|client| Some((client, client.sent?.path_mtu?)))
    else {
        return "Send a smaller first message.".to_owned();
    };
    let ip = if client.remote.ip().to_canonical().is_ipv4() { 20 } else { 40 };
    // TCP's header with the most options.
    let room = mtu.saturating_sub(ip + 60);
    format!(
        "Nothing to do for the next connections; a first message of at most {room} bytes spares the first one the \
         round trip too: {}.",
        commands::small(client.remote, room)
    )
}

fn use_cookies_here(facts: &Facts<'_>) -> String {
    let again = commands::probe(facts, 3);
    let Some(client) = facts.client else {
        return format!(
            "On the client, see whether its setting or its route goes without cookies: `sysctl \
             net.ipv4.tcp_fastopen` (bit 0x4), `ip route show table all | grep fastopen_no_cookie`; then: {again}."
        );
    };
    let how = match client.tcp_fastopen {
        Some(bits) if bits.client_no_cookie() => commands::set_tcp_fastopen(Some(bits)),
        _ if client.route_without_cookie == Some(true) => format!(
            "take `fastopen_no_cookie` out of the route to {ip}: `ip route get {ip}`",
            ip = client.remote.ip().to_canonical()
        ),
        _ => "clear TCP_FASTOPEN_NO_COOKIE on the socket".to_owned(),
    };
    format!("Use cookies on this host: {how}; then repeat: {again}.")
}

fn use_cookies(facts: &Facts<'_>) -> String {
    let on_server = on_server(facts);
    let bits = facts.server_host().map(|host| host.tcp_fastopen);
    let sockets =
        "clear TCP_FASTOPEN_NO_COOKIE on its listener and `fastopen_no_cookie` in its routes";
    let how = match bits {
        Some(bits) if !bits.server_no_cookie() => sockets.to_owned(),
        _ => format!("{}, and {sockets} if they set it", commands::set_tcp_fastopen(bits)),
    };
    format!(
        "Let the server use cookies, {on_server}: {how}; a server without cookies serves forged SYNs as \
         well."
    )
}

fn enable_server(facts: &Facts<'_>) -> String {
    let on_server = on_server(facts);
    let host = facts.server_host();
    let seen = host.map(|host| host.tcp_fastopen);
    let queue =
        "set TCP_FASTOPEN on the listener (tfo-server: `fastopen-queue` above 0 in server.toml)";
    match host {
        Some(host) if !host.tcp_fastopen.server() => format!(
            "Switch it on, {on_server}: {}{}.",
            commands::set_tcp_fastopen(seen),
            if host.queue == 0 { format!(", and {queue}") } else { String::new() }
        ),
        Some(_) => format!(
            "For this listener, {on_server}: {queue}; for a program that can't, give every listener a \
             queue: {} and restart the program; {}.",
            commands::set_for_all_listeners(seen),
            commands::doctor(facts)
        ),
        None => format!(
            "Look {on_server}: `sysctl net.ipv4.tcp_fastopen` needs bit 0x2: {}; and {queue}; {}.",
            commands::set_tcp_fastopen(None),
            commands::doctor(facts)
        ),
    }
}
