//! The handshake ended: did fast open work, as the client's bits say, and as the server's half explains?

use std::net::SocketAddr;

use super::facts::{CookieChange, Facts, overwritten};
use super::finding::{bytes, reason, syn_data, undecided};
use super::{Blame, Cause, Outcome, Ruling, View, accepted, advice, commands, failed};
use crate::diagnosis::classify::{Side, classify, not_attempted};
use crate::diagnosis::rules::{Sign, Symptom};
use crate::diagnosis::{CachedCookie, ClientEvidence, Ending, Verdict};
use crate::host::FastOpenFlags;
use crate::prose::counted;
use crate::socket::{Attempt, ClientFail, TcpState};

pub(super) fn judge(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    match client.result {
        Ending::Answered | Ending::Connected | Ending::Closed => connected(facts, client),
        Ending::NoAnswer => failed::no_answer(facts, client),
        Ending::Broken(errno) => failed::broken(facts, client, errno),
        Ending::NoHandshake => failed::no_handshake(facts, client),
        Ending::Failed(errno) => failed::not_connected(facts, client, errno),
    }
}

fn connected(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let class = match client.tcp {
        Some(tcp) => {
            classify(tcp, Side::client(Some(client.attempt), facts.cookie_cached(tcp.client_fail)))
        }
        None => not_attempted(client.attempt),
    };
    let code = client.tcp.map_or(ClientFail::Unspecified, |tcp| tcp.client_fail);
    match class {
        Some((Outcome::FastOpen, _)) => accepted::judge(facts, client),
        Some((_, Some(Cause::DisabledByConfig))) => regular(facts, client),
        Some((_, Some(Cause::PausedByProgram))) => paused_by_program(facts, client),
        Some((_, Some(Cause::ClientDisabled))) => client_disabled(client),
        Some((_, Some(Cause::PausedByBlackhole))) => paused(client, false),
        Some((_, Some(Cause::DataNotAcked))) if !facts.syn_lost_without_code(code) => {
            data_not_acked(facts)
        }
        Some((_, Some(Cause::DataNotAcked | Cause::SynRetransmitted))) => {
            syn_with_data_repeated(facts, client)
        }
        _ if code == ClientFail::CookieUnavailable => asked_for_cookie(facts, client),
        _ => no_code(facts, client),
    }
}

fn regular(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    Ruling::new(
        Outcome::NotAttempted,
        format!(
            "A regular connection was made on purpose, its {} left after the handshake",
            bytes(client.message_bytes)
        ),
    )
    .cause(Cause::DisabledByConfig, View::Client)
    .verdict(format!("To see what fast open does here: {}.", commands::probe(facts, 3)))
}

fn paused_by_program(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let finding = format!(
        "Fast open has failed towards {} before, so this program made a regular connection, and the {} \
         left after the handshake",
        SocketAddr::new(client.remote.ip().to_canonical(), client.remote.port()),
        bytes(client.message_bytes)
    );
    let advice = format!(
        "The program tries again after a pause. To see what fails: {}.",
        commands::probe(facts, 5)
    );
    Ruling::new(Outcome::NotAttempted, finding)
        .cause(Cause::PausedByProgram, View::Client)
        .verdict(advice)
}

fn client_disabled(client: &ClientEvidence) -> Verdict {
    let seen = client.tcp_fastopen;
    let setting = match seen {
        Some(bits) if bits.client() => {
            format!("although net.ipv4.tcp_fastopen read {} before", bits.bits())
        }
        Some(bits) => {
            format!("net.ipv4.tcp_fastopen is {}, its client bit 0x1 is off", bits.bits())
        }
        None => "the client bit 0x1 of net.ipv4.tcp_fastopen is off".to_owned(),
    };
    Ruling::new(
        Outcome::NotAttempted,
        format!("This host's kernel refused fast open with EOPNOTSUPP: {setting}"),
    )
    .cause(Cause::ClientDisabled, View::Client)
    .verdict(format!("Switch it on, on this host: {}.", commands::set_tcp_fastopen(seen)))
}

/// Code 1: no cookie was cached. Only the cache tells whether the server then granted one.
fn asked_for_cookie(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    match facts.cookie_change() {
        // The kernel had none, so one that was read before is of another source address.
        CookieChange::New | CookieChange::Changed => granted(facts, client, true),
        CookieChange::StillNone => no_cookie_returned(facts),
        CookieChange::Same | CookieChange::Unknown => cookie_unknown(facts, client),
    }
}

fn granted(facts: &Facts<'_>, client: &ClientEvidence, seen: bool) -> Verdict {
    let caveat = if seen { "" } else { ", unless the option was removed on its way back" };
    Ruling::new(
        Outcome::CookieGranted,
        format!(
            "No cookie was cached for {}, the server granted one{caveat}, and the {} left after the \
             handshake",
            client.remote.ip().to_canonical(),
            bytes(client.message_bytes)
        ),
    )
    .verdict(format!("Connect again, the next SYN can carry data: {}.", commands::probe(facts, 2)))
}

fn no_cookie_returned(facts: &Facts<'_>) -> Verdict {
    let left = facts.candidates(Symptom::NoCookie);
    if facts.syn_repeated() == Some(true) {
        let withheld = matches!(left[..], [cause] if cause != Cause::SynRetransmitted);
        let lost = match facts.arrived() {
            Some(syn) if overwritten(syn) => None,
            // The kernel's second SYN has no option.
            Some(syn) if syn.fast_open.is_none() => {
                Some("the SYN with the request did not reach the server")
            }
            _ if withheld => None,
            Some(_) => Some("the request reached the server, its SYN-ACK did not come"),
            None => Some("the SYN with the request or its SYN-ACK did not come"),
        };
        if let Some(what) = lost {
            return syn_with_option_repeated(facts, what);
        }
    }
    // The server's second SYN-ACK can come before the client's second SYN leaves.
    if left == [Cause::SynAckOptionStripped, Cause::SynRetransmitted] && facts.syn_ack_repeated() {
        let what = "the request reached the server, its first SYN-ACK did not come";
        return syn_with_option_repeated(facts, what);
    }
    explained(facts, Cause::NoCookieReturned, "A cookie was asked for and none came back", &left)
}

fn syn_with_option_repeated(facts: &Facts<'_>, what: &str) -> Verdict {
    let left = facts.candidates(Symptom::SynRepeated);
    let seen = format!(
        "A cookie was asked for and none came back, and SYN or SYN-ACK had to be sent again: {what}"
    );
    if let [cause @ (Cause::RegularFailsToo | Cause::AcceptQueueFull)] = left[..] {
        return Ruling::new(Outcome::Fallback, format!("{seen}; {}", reason(facts, cause)))
            .cause(cause, View::Client)
            .verdict(advice::against(facts, cause));
    }
    if left == [Cause::SynRetransmitted] {
        return Ruling::new(
            Outcome::Fallback,
            format!("{seen}; it happens each time, and regular connections pass"),
        )
        .cause(Cause::SynRetransmitted, View::Client)
        .blame(Blame::Path)
        .verdict(format!(
            "A box drops packets with the option. Find it {}.",
            // What happens on the way back is not seen by SYNs with a small TTL.
            match facts.arrived() {
                Some(syn) if syn.fast_open.is_some() => {
                    format!("by a capture on both ends: {}", commands::capture(facts))
                }
                _ => format!("hop by hop: {}", commands::hops(facts)),
            }
        ));
    }
    let possible: Vec<_> =
        left.into_iter().filter(|cause| *cause != Cause::SynRetransmitted).collect();
    Ruling::new(
        Outcome::Fallback,
        format!("{seen}, by chance loss or by a box that drops packets with the option"),
    )
    .cause(Cause::SynRetransmitted, View::Client)
    .possible(&possible)
    .verdict(format!(
        "Repeat: {}; once is loss, each time while regular connections pass is a box.",
        commands::probe(facts, 5)
    ))
}

/// The cookie cache says nothing: the server's half may still show that none can have been granted.
fn cookie_unknown(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    if facts.server.is_some() {
        let left = facts.candidates(Symptom::NoCookie);
        match left[..] {
            [Cause::SynAckOptionStripped] => return granted(facts, client, false),
            [_] => {
                let seen = "A cookie was asked for and none can have been granted";
                return explained(facts, Cause::NoCookieReturned, seen, &left);
            }
            _ => {}
        }
    }
    Ruling::new(
        Outcome::Fallback,
        format!(
            "A cookie was asked for and the {} left after the handshake, but this host's cookie cache \
             does not tell whether one was granted",
            bytes(client.message_bytes)
        ),
    )
    .blame(Blame::Unknown)
    .verdict(format!(
        "Repeat, a second connection with data in its SYN had its cookie granted: {}; or look at the \
         cache: {}.",
        commands::probe(facts, 3),
        commands::cookie(client.remote)
    ))
}

/// Code 2: the SYN-ACK came without acknowledging the data.
fn data_not_acked(facts: &Facts<'_>) -> Verdict {
    let data = syn_data(facts);
    if facts.server.is_some_and(|server| server.tcp.syn_data) {
        return Ruling::new(
            Outcome::Fallback,
            format!(
                "The server took data from the SYN, but the SYN-ACK that came back did not acknowledge \
                 {data}, so something on the way answers or rewrites it"
            ),
        )
        .cause(Cause::DataNotAcked, View::Client)
        .blame(Blame::Path)
        .verdict(format!(
            "Find the proxy or firewall in between: {}; if no hop shows it, compare captures of both ends: {}.",
            commands::hops(facts),
            commands::capture(facts)
        ));
    }
    let left = facts.candidates(Symptom::DataNotAcked);
    if facts.read(Sign::CookieRefused) == Some(true) {
        let seen = match facts.cookie_change() {
            // So does one that takes a cookie of its backup key, whose SYN has lost its data.
            CookieChange::Changed
                if left.contains(&Cause::SynDataStripped)
                    && facts.counted(|n| n.passive_fail) != Some(true) =>
            {
                format!(
                    "The server replaced the cookie of the SYN with {data}, and did not acknowledge those"
                )
            }
            CookieChange::Changed => {
                format!("The server refused the cookie of the SYN with {data} and sent a new one")
            }
            _ => format!("The server refused the cookie of the SYN with {data}"),
        };
        return explained(facts, Cause::CookieRejected, &seen, &left);
    }
    let cookie = if facts.cookie_sent_or_unknown() { "" } else { " without a cookie" };
    let seen = format!("The SYN carried {data}{cookie} that the SYN-ACK did not acknowledge");
    explained(facts, Cause::DataNotAcked, &seen, &left)
}

/// Code 3: the SYN with data got no answer, one without did.
fn syn_with_data_repeated(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let data = syn_data(facts);
    let again = client.tcp.map_or(0, |tcp| tcp.total_retrans);
    let left = facts.candidates(Symptom::SynRepeated);
    let seen = format!(
        "The SYN with {data} got no answer and a SYN without data did ({})",
        counted(again, "retransmission", "retransmissions")
    );
    if let [cause] = left[..]
        && cause != Cause::SynRetransmitted
    {
        return Ruling::new(Outcome::Fallback, format!("{seen}: {}", reason(facts, cause)))
            .cause(cause, View::Client)
            .verdict(advice::against(facts, cause));
    }
    let what = match facts.arrived() {
        Some(syn) if syn.fast_open.is_some() || syn.payload_bytes > 0 => {
            "it reached the server, and the SYN-ACK to it was lost"
        }
        Some(_) => "the server saw only a SYN without data",
        None => "it was dropped, or its SYN-ACK was",
    };
    let ruling = Ruling::new(Outcome::Fallback, format!("{seen}: {what}"))
        .cause(Cause::SynRetransmitted, View::Client);
    let repeat = commands::probe(facts, 5);
    if left == [Cause::SynRetransmitted] {
        return ruling.blame(Blame::Path).verdict(format!(
            "It happens each time, and regular connections pass: a box drops SYNs with data, which costs each \
             connection about a second. Leave fast open off towards {}, or find the box: {}.",
            client.remote.ip().to_canonical(),
            commands::hops(facts)
        ));
    }
    let possible: Vec<_> =
        left.into_iter().filter(|cause| *cause != Cause::SynRetransmitted).collect();
    let ecn = match client.tcp_ecn {
        Some(1) => {
            "; this host asks for ECN (net.ipv4.tcp_ecn=1), and a box that drops such SYNs looks like this too"
        }
        _ => "",
    };
    ruling.possible(&possible).verdict(format!(
        "Repeat: {repeat}; once is ordinary loss, or a server that was short of room for a moment; each time, \
         while regular connections pass, is a box that drops SYNs with data{ecn}."
    ))
}

/// Code 0 and no data acknowledged: fast open is paused, there was nothing to send, or the kernel has no codes.
fn no_code(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    if client.tcp.is_none_or(|tcp| tcp.state == TcpState::SynSent) {
        return inconclusive(facts, client);
    }
    if client.message_bytes == 0 {
        return Ruling::new(
            Outcome::NotAttempted,
            "The message is empty: the SYN had no data to carry",
        )
        .verdict(format!("Send something: {}.", commands::probe(facts, 3)));
    }
    if client.counters.is_some_and(|change| change.blackhole > 0) {
        return paused(client, true);
    }
    match facts.cookie_change() {
        CookieChange::New => granted(facts, client, true),
        // Without cookies it never asks for one: its data would be in the SYN.
        CookieChange::StillNone if facts.never_asks() => paused(client, false),
        CookieChange::StillNone => maybe_paused(facts, client),
        _ => inconclusive(facts, client),
    }
}

fn paused(client: &ClientEvidence, began: bool) -> Verdict {
    let sign = match client.cookie_before {
        _ if began => "TCPFastOpenBlackhole rose",
        Some(CachedCookie::None) => {
            "the SYN left without data, although the client needs no cookie"
        }
        _ => "the SYN left without the cookie that is cached",
    };
    Ruling::new(
        Outcome::NotAttempted,
        format!(
            "This host's kernel has paused fast open to all destinations after a suspected blackhole: \
             {sign}, and the {} left after the handshake",
            bytes(client.message_bytes)
        ),
    )
    .cause(Cause::PausedByBlackhole, View::Client)
    .verdict(
        "End the pause by writing the setting, 0 also switches the detection off: \
         `sudo sysctl -w net.ipv4.tcp_fastopen_blackhole_timeout_sec=0`; then find the path on which a \
         SYN with data is the last thing heard.",
    )
}

fn maybe_paused(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    Ruling::new(
        Outcome::Fallback,
        format!(
            "The {} left after the handshake with no cookie cached before or after, and the kernel \
             gives no code for it",
            bytes(client.message_bytes)
        ),
    )
    .candidates(&[Cause::NoCookieReturned, Cause::PausedByBlackhole], View::Client)
    .verdict(format!(
        "To settle it, see whether the pause is in use: `tfo-client doctor --only client`, and repeat: {}.",
        commands::probe(facts, 3)
    ))
}

/// There is no `TCP_INFO` of the time after the handshake.
fn inconclusive(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let sent = match client.attempt {
        Attempt::InSyn(sent) => format!("The SYN took {}", bytes(sent)),
        _ => format!("The {} left after the handshake", bytes(client.message_bytes)),
    };
    let without = client.tcp_fastopen.map(FastOpenFlags::bits);
    let setting =
        without.map(|bits| format!(" (net.ipv4.tcp_fastopen={bits})")).unwrap_or_default();
    Ruling::new(
        Outcome::Fallback,
        format!(
            "{sent}{setting}, but what the kernel says of the time after the handshake does not tell \
             what became of fast open"
        ),
    )
    .blame(Blame::Unknown)
    .verdict(format!(
        "Read TCP_INFO at the first byte of the answer, not before, as here: {}.",
        commands::probe(facts, 3)
    ))
}

/// A connection that fell back, with what the exclusion of causes has left.
fn explained(facts: &Facts<'_>, broad: Cause, seen: &str, left: &[Cause]) -> Verdict {
    let ruling = |text| Ruling::new(Outcome::Fallback, format!("{seen}: {text}"));
    match *left {
        [cause] => ruling(reason(facts, cause))
            .cause(cause, View::Client)
            .verdict(advice::against(facts, cause)),
        [] => ruling("nothing in the evidence of either end explains it".to_owned())
            .cause(broad, View::Client)
            .verdict(advice::to_settle(facts, Some(broad), left)),
        _ => {
            let settle = advice::to_settle(facts, Some(broad), left);
            // Whatever else is in between: a server that always uses SYN cookies takes no fast open.
            let always = facts.server_host().is_some_and(|host| host.syncookies == 2)
                && left.contains(&Cause::ServerSyncookies);
            let advice = if always {
                format!("{} {settle}", advice::against(facts, Cause::ServerSyncookies))
            } else {
                settle
            };
            ruling(undecided(facts, left.len()))
                .cause(broad, View::Client)
                .candidates(left, View::Client)
                .verdict(advice)
        }
    }
}
