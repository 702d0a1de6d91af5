//! The second half of a finding: what a cause means in the numbers of this connection.

use super::facts::{CookieChange, Facts, View, overwritten};
use crate::diagnosis::rules::Sign;
use crate::diagnosis::{Cause, ServerEvidence};
use crate::socket::{FastOpenKind, SynRecord};

/// "1 byte", "32 bytes".
pub(super) fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

/// The data of the client's SYN, where its length is known.
pub(super) fn syn_data(facts: &Facts<'_>) -> String {
    match facts.in_syn() {
        0 => "data".to_owned(),
        sent => bytes(sent),
    }
}

/// Why fast open was not granted or not accepted, as the rest of a sentence.
pub(super) fn reason(facts: &Facts<'_>, cause: Cause) -> String {
    match cause {
        Cause::OptionStripped => option_stripped(facts),
        Cause::SynDataStripped => syn_data_stripped(facts),
        Cause::SynAckOptionStripped => format!(
            "the request arrived{} at a server that grants cookies, so the option was removed from \
             the SYN-ACK on its way back",
            kind(facts)
        ),
        Cause::SynRetransmitted => {
            "the SYN-ACK with the cookie was lost, and the one that came has no option".to_owned()
        }
        Cause::ServerDisabled => server_disabled(facts),
        Cause::ServerSyncookies => server_syncookies(facts),
        Cause::ServerWithoutCookies => match facts.server_host() {
            Some(host) if host.tcp_fastopen.server_no_cookie() => format!(
                "the server takes data without cookies (net.ipv4.tcp_fastopen={}, bit 0x200) and so \
                 never grants one",
                host.tcp_fastopen.bits()
            ),
            _ => "the server took the bare request for fast open, so it works without cookies and \
                  never grants one"
                .to_owned(),
        },
        Cause::QueueFull => queue_full(facts),
        Cause::KeyMismatch => key_mismatch(facts),
        Cause::CookieCorrupted => cookie_corrupted(facts),
        Cause::AddressTranslated => match facts.translation() {
            Some((here, there)) => format!(
                "the client's address {here} arrives as {there}, and the cookie does not fit that one"
            ),
            None => "the client's address is translated on the way".to_owned(),
        },
        Cause::DestinationTranslated => destination_translated(facts),
        Cause::Proxied => "the server saw another connection than this client's, opened by a proxy in between"
            .to_owned(),
        Cause::PartlyAcknowledged => {
            let again = facts.client.and_then(|client| client.sent?.bytes_retrans).unwrap_or(0);
            format!(
                "{again} of {} were not acknowledged and sent again, the others were taken; a server's kernel \
                 takes all or nothing, so something on the way answers or rewrites it",
                bytes(facts.in_syn())
            )
        }
        Cause::ClientWithoutCookies => client_without_cookies(facts),
        Cause::PathMtuExceeded => {
            let mtu = facts.client.and_then(|client| client.sent?.path_mtu).unwrap_or(0);
            format!(
                "it was larger than the path's MTU of {mtu} bytes, which is known now: the next SYN will be smaller"
            )
        }
        Cause::AcceptQueueFull => {
            "the server's host dropped it, as the accept queue of a listener was full (ListenDrops rose)".to_owned()
        }
        Cause::RegularFailsToo => {
            let repetition = facts.client.and_then(|client| client.repetition).unwrap_or_default();
            let ecn = match facts.client.and_then(|client| client.tcp_ecn) {
                Some(1) => "; this host asks for ECN (net.ipv4.tcp_ecn=1), which a box may drop",
                _ => "",
            };
            format!(
                "regular connections fare alike ({} of {}), so it is not about fast open{ecn}",
                repetition.controls_alike, repetition.controls
            )
        }
        // The other causes have sentences of their own.
        other => format!("the cause is {other}"),
    }
}

fn destination_translated(facts: &Facts<'_>) -> String {
    let Some(here) = facts.server.and_then(ServerEvidence::destination_ip) else {
        return "the server's address is translated on the way".to_owned();
    };
    let made = facts.client.and_then(|client| client.cookie_addresses);
    match made {
        Some(made) => format!(
            "the cookie was made by a server at {}, and this connection reached {}: cookies differ even with the \
             same key",
            made.destination, here
        ),
        None => format!("this connection reached {here}, and the cookie is of another"),
    }
}

fn client_without_cookies(facts: &Facts<'_>) -> String {
    let client = facts.client;
    let setting = client.and_then(|client| client.tcp_fastopen);
    let why = match setting {
        Some(bits) if bits.client_no_cookie() => {
            format!("net.ipv4.tcp_fastopen={} has bit 0x4", bits.bits())
        }
        _ if client.is_some_and(|client| client.route_without_cookie == Some(true)) => {
            "its route has fastopen_no_cookie".to_owned()
        }
        _ => "TCP_FASTOPEN_NO_COOKIE".to_owned(),
    };
    format!("the client goes without cookies ({why}), and this server asks for them")
}

fn option_stripped(facts: &Facts<'_>) -> String {
    let trace = match facts.arrived() {
        Some(syn) if overwritten(syn) => {
            format!(", {} NOPs are in its place", syn.trailing_nops)
        }
        Some(_) => ", the SYN arrived without it".to_owned(),
        None => String::new(),
    };
    let also = if facts.server_enabled() == Some(false) {
        ", and the server would not take it either: its fast open is off"
    } else {
        ""
    };
    format!("the fast open option was removed on the way{trace}{also}")
}

fn syn_data_stripped(facts: &Facts<'_>) -> String {
    let data = match facts.in_syn() {
        0 => "any data".to_owned(),
        sent => format!("its {}", bytes(sent)),
    };
    let with = if facts.arrived_cookie().is_some() { " with its cookie but" } else { "" };
    format!("the SYN arrived{with} without {data}, which were removed on the way")
}

fn server_disabled(facts: &Facts<'_>) -> String {
    let whose = whose(facts);
    match facts.server_host() {
        Some(host) if !host.tcp_fastopen.server() => format!(
            "net.ipv4.tcp_fastopen is {} on {whose}, its server bit 0x2 is off",
            host.tcp_fastopen.bits()
        ),
        Some(_) => format!(
            "the listener{} has a fast open queue of 0, which is off, although net.ipv4.tcp_fastopen \
             allows it",
            port(facts)
        ),
        None => format!(
            "{whose} counted neither an invalid cookie nor a full queue, so fast open is off on its \
             listener"
        ),
    }
}

fn server_syncookies(facts: &Facts<'_>) -> String {
    let why = match facts.server_host().map(|host| host.syncookies) {
        Some(setting) => format!(" (net.ipv4.tcp_syncookies={setting})"),
        None => String::new(),
    };
    let whose = whose(facts);
    let saved = match facts.server.map(|server| &server.syn) {
        Some(SynRecord::SynCookie) => {
            format!("{whose} saved no headers of it, as when it answers")
        }
        _ => format!("{whose} answered"),
    };
    format!("{saved} with a SYN cookie{why}, which leaves no room for fast open")
}

fn key_mismatch(facts: &Facts<'_>) -> String {
    let cookie = match facts.arrived_cookie() {
        Some(cookie) => format!("the cookie {cookie} arrived as it was sent and was refused"),
        None => "the cookie was refused".to_owned(),
    };
    // A server that refuses a cookie sends the right one along.
    let new = match facts.cookie_change() {
        CookieChange::Same => ", and the new one did not come back",
        _ => "",
    };
    format!("{cookie}, so it was made with another key{new}")
}

/// The server, as the reader knows it.
fn whose(facts: &Facts<'_>) -> &'static str {
    match facts.view() {
        View::Client => "the server",
        View::Server => "this host",
    }
}

fn queue_full(facts: &Facts<'_>) -> String {
    let length = facts.server_host().map(|host| format!(" of {}", host.queue)).unwrap_or_default();
    let counted = match facts.server.and_then(|server| server.counters.as_deref()) {
        Some(counters) if facts.counted(|n| n.listen_overflow) == Some(true) => {
            format!(", TCPFastOpenListenOverflow rose by {}", counters.change.listen_overflow)
        }
        _ => String::new(),
    };
    format!("the listener's fast open queue{length} was full{counted}")
}

fn cookie_corrupted(facts: &Facts<'_>) -> String {
    match (facts.arrived_cookie(), facts.cookie_before()) {
        (Some(arrived), _) if arrived.is_empty() => {
            "the cookie was taken out of the option on its way".to_owned()
        }
        (Some(arrived), Some(sent)) if !sent.is_empty() => {
            format!("the cookie {sent} arrived as {arrived}")
        }
        _ => "the cookie was changed on the way".to_owned(),
    }
}

/// The kind of the option that arrived, where it tells something.
fn kind(facts: &Facts<'_>) -> &'static str {
    match facts.arrived().and_then(|syn| syn.fast_open.as_ref()).map(|option| option.kind) {
        Some(FastOpenKind::Experimental) => " (as experimental option 254)",
        Some(FastOpenKind::Standard) => " (as option 34)",
        None => "",
    }
}

fn port(facts: &Facts<'_>) -> String {
    facts.target().map(|target| format!(" on port {}", target.port())).unwrap_or_default()
}

/// What the client can say about causes that look the same from its end.
pub(super) fn undecided(facts: &Facts<'_>, candidates: usize) -> String {
    if facts.read(Sign::SameConnection) == Some(false) {
        return format!(
            "{candidates} causes look like this from here. The server's half is left out: the SYN that it saw has \
             another TSval, so that a proxy opened that connection, or a box rewrites timestamps"
        );
    }
    format!("{candidates} causes look like this in the evidence at hand")
}
