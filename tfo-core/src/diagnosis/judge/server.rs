//! What a server can tell that knows nothing of its client but the SYN that arrived.

use super::facts::{Facts, overwritten};
use super::finding::{bytes, reason};
use super::{Blame, Cause, Outcome, Ruling, View, advice, commands};
use crate::diagnosis::classify::{Side, classify};
use crate::diagnosis::rules::{Sign, Symptom};
use crate::diagnosis::{ServerEvidence, ServerHost, Verdict};
use crate::socket::{FastOpenKind, FastOpenOption, SynRecord, SynSummary, TcpState};

pub(super) fn judge(facts: &Facts<'_>, server: &ServerEvidence) -> Verdict {
    // A look from time to time does not tell whether the queue was full just now.
    let host = server.host.map(|host| ServerHost { overflowed: None, ..host });
    match classify(server.tcp, Side::server(&server.syn, host)) {
        Some((outcome, _)) => in_words(facts, server, outcome),
        None => open(facts, server),
    }
}

/// A connection that [`classify`] has settled.
pub(super) fn in_words(facts: &Facts<'_>, server: &ServerEvidence, outcome: Outcome) -> Verdict {
    match (outcome, facts.arrived()) {
        (Outcome::FastOpen, _) => data_taken(facts, server),
        (Outcome::CookieGranted, Some(syn)) => granted(server, syn.fast_open),
        (_, Some(syn)) => regular(facts, server, syn),
        (_, None) => not_saved(facts, server),
    }
}

fn open(facts: &Facts<'_>, server: &ServerEvidence) -> Verdict {
    if server.tcp.syn_data {
        return dead_after_data(facts, server);
    }
    let syn = match &server.syn {
        SynRecord::Saved(syn) => syn,
        SynRecord::SynCookie => return settled(facts, server, Cause::ServerSyncookies),
        SynRecord::NotSaved => return not_saved(facts, server),
    };
    let payload = usize::from(syn.payload_bytes);
    match syn.fast_open {
        Some(option) if option.is_request() => cookie_asked(facts, server),
        Some(_) if payload == 0 => cookie_alone(facts, server),
        Some(_) => data_refused(facts, server, payload, "a cookie"),
        None if payload == 0 && overwritten(syn) => option_overwritten(facts, server, syn),
        None => data_refused(facts, server, payload, "no fast open option"),
    }
}

fn data(facts: &Facts<'_>) -> String {
    facts.arrived().map_or_else(|| "data".to_owned(), |syn| bytes(syn.payload_bytes.into()))
}

/// The client does not answer the SYN-ACK, though it is repeated.
fn dead_after_data(facts: &Facts<'_>, server: &ServerEvidence) -> Verdict {
    Ruling::new(
        Outcome::Failed,
        format!(
            "The SYN from {} brought {}, which were delivered, but its handshake does not end although \
             the SYN-ACK was repeated (total_retrans={})",
            server.source_ip(),
            data(facts),
            server.tcp.total_retrans
        ),
    )
    .cause(Cause::TimedOut, View::Server)
    .verdict(format!(
        "The client is gone, or the path is dead after a SYN with data; the request has been \
         executed; see what comes and goes: {}.",
        commands::capture(facts)
    ))
}

fn data_taken(facts: &Facts<'_>, server: &ServerEvidence) -> Verdict {
    let (from, data) = (server.source_ip(), data(facts));
    let mut finding =
        format!("The SYN from {from} brought {data}, delivered before the handshake ended");
    if facts.arrived().is_some_and(|syn| syn.fast_open.is_none()) {
        finding += ", without a cookie";
    }
    if server.tcp.state == TcpState::SynRecv && server.tcp.total_retrans > 0 {
        finding += "; its SYN-ACK had to be sent again";
    }
    if facts.counted(|n| n.passive_alt_key) == Some(true) {
        finding += "; its cookie was of the backup key, and a new one was sent along";
    }
    Ruling::new(Outcome::FastOpen, finding).verdict("Nothing to do.")
}

/// A request arrived. No counter says that a cookie was granted: it was, if nothing forbade it.
fn cookie_asked(facts: &Facts<'_>, server: &ServerEvidence) -> Verdict {
    let from = server.source_ip();
    let left = facts.candidates(Symptom::NoCookie);
    match left[..] {
        [] => return granted(server, facts.arrived().and_then(|syn| syn.fast_open)),
        // With all else excluded a cookie was granted: only a cause that is proved by a sign is left.
        [cause] if facts.proved(Symptom::NoCookie, cause) => return settled(facts, server, cause),
        _ => {}
    }
    Ruling::new(
        Outcome::Fallback,
        format!(
            "{from} asked for a cookie, which was granted unless one of {} causes withheld it",
            left.len()
        ),
    )
    .possible(&left)
    .verdict(look_at_host(facts))
}

fn granted(server: &ServerEvidence, request: Option<FastOpenOption>) -> Verdict {
    let again = match request.map(|option| option.kind) {
        Some(FastOpenKind::Experimental) => {
            ", with experimental option 254: an earlier request with option 34 was in vain"
        }
        _ => "",
    };
    Ruling::new(
        Outcome::CookieGranted,
        format!("{} asked for a cookie and was granted one{again}", server.source_ip()),
    )
    .verdict(
        "Nothing to do, its next SYN can carry data; if it keeps asking, the option is removed from the \
         SYN-ACKs on their way.",
    )
}

fn look_at_host(facts: &Facts<'_>) -> String {
    format!(
        "To settle it, look at the setting, the listener's queue (last column) and the counters of this \
         host: `sysctl net.ipv4.tcp_fastopen`, `cat /proc/net/tcp /proc/net/tcp6` and \
         `nstat -az 'TcpExtTCPFastOpen*'`; or ask the client: {}.",
        commands::probe(facts, 3)
    )
}

/// A client with nothing to send looks like one whose data was removed.
fn cookie_alone(facts: &Facts<'_>, server: &ServerEvidence) -> Verdict {
    Ruling::new(
        Outcome::Fallback,
        format!(
            "The SYN from {} brought a cookie but no data: it was removed on the way, or there was none",
            server.source_ip()
        ),
    )
    .blame(Blame::Unknown)
    .verdict(advice::to_settle(facts, None))
}

fn data_refused(facts: &Facts<'_>, server: &ServerEvidence, payload: usize, with: &str) -> Verdict {
    let seen = format!("The SYN from {} brought {} and {with}", server.source_ip(), bytes(payload));
    let broad = if facts.read(Sign::CookieRefused) == Some(true) {
        Cause::CookieRejected
    } else {
        Cause::DataNotAcked
    };
    let left = facts.candidates(Symptom::DataNotAcked);
    match left[..] {
        [cause] => settled(facts, server, cause),
        [] => Ruling::new(
            Outcome::Fallback,
            format!("{seen}, and the data was not taken, although nothing here explains it"),
        )
        .cause(broad, View::Server)
        .verdict(advice::to_settle(facts, Some(broad))),
        _ => {
            let what = match broad {
                Cause::CookieRejected => "the cookie was refused",
                _ => "the data was not taken",
            };
            Ruling::new(
                Outcome::Fallback,
                format!("{seen}, and {what}, for which this side knows {} causes", left.len()),
            )
            .cause(broad, View::Server)
            .candidates(&left, View::Server)
            .verdict(advice::to_settle(facts, Some(broad)))
        }
    }
}

/// A SYN without data at whose end an option was overwritten: fast open's, or one that Linux sends by default and that
/// is missing.
fn option_overwritten(facts: &Facts<'_>, server: &ServerEvidence, syn: &SynSummary) -> Verdict {
    let missing: Vec<_> = USUAL
        .iter()
        .filter(|(kind, _)| !syn.options.contains(kind))
        .map(|(_, name)| *name)
        .collect();
    let what = if missing.is_empty() {
        "it has all of the usual options, so it was fast open's or one that few send (MPTCP)"
            .to_owned()
    } else {
        format!("it lacks {}, which may have been the one", missing.join(" and "))
    };
    Ruling::new(
        Outcome::NotAttempted,
        format!(
            "A regular SYN arrived from {}, with {} NOPs where an option was overwritten: {what}",
            server.source_ip(),
            syn.trailing_nops
        ),
    )
    .possible(&[Cause::OptionStripped])
    .verdict(advice::to_settle(facts, None))
}

/// The options that a Linux client sends by default.
const USUAL: &[(u8, &str)] =
    &[(2, "the MSS"), (4, "SACK-permitted"), (8, "timestamps"), (3, "the window scale")];

fn regular(facts: &Facts<'_>, server: &ServerEvidence, syn: &SynSummary) -> Verdict {
    Ruling::new(
        Outcome::NotAttempted,
        format!(
            "A regular SYN arrived from {}, with neither fast open option nor data ({} options, TTL {})",
            server.source_ip(),
            syn.options.len(),
            syn.ttl
        ),
    )
    .possible(&[
        Cause::DisabledByConfig,
        Cause::ClientDisabled,
        Cause::PausedByBlackhole,
        Cause::OptionStripped,
        Cause::SynRetransmitted,
    ])
    .verdict(advice::to_settle(facts, None))
}

fn not_saved(facts: &Facts<'_>, server: &ServerEvidence) -> Verdict {
    let from = server.source_ip();
    if server.tcp.tfo_child || facts.counted(|n| n.passive) == Some(true) {
        return Ruling::new(
            Outcome::Fallback,
            format!(
                "{from} asked for fast open and was given it, but its SYN brought no data, which was \
                 removed on the way or was never there"
            ),
        )
        .blame(Blame::Unknown)
        .verdict(save_syns(facts));
    }
    if facts.counted(|n| n.listen_overflow) == Some(true) {
        return settled(facts, server, Cause::QueueFull);
    }
    if facts.counted(|n| n.passive_fail) == Some(true) {
        let left = facts.candidates(Symptom::DataNotAcked);
        if let [cause] = left[..] {
            return settled(facts, server, cause);
        }
        return Ruling::new(
            Outcome::Fallback,
            format!("{from} sent a cookie that was refused (TCPFastOpenPassiveFail rose)"),
        )
        .cause(Cause::CookieRejected, View::Server)
        .candidates(&left, View::Server)
        .verdict(advice::to_settle(facts, Some(Cause::CookieRejected)));
    }
    if facts.counted(|n| n.cookie_reqd) == Some(true) {
        return cookie_asked(facts, server);
    }
    Ruling::new(
        Outcome::NotAttempted,
        format!(
            "The connection from {from} took no data from its SYN, and as that was not saved this side \
             can't tell whether fast open was tried"
        ),
    )
    .blame(Blame::Unknown)
    .verdict(save_syns(facts))
}

fn save_syns(facts: &Facts<'_>) -> String {
    format!(
        "To settle it, set TCP_SAVE_SYN on the listener before it listens, as tfo-server does, or \
         capture: {}.",
        commands::capture(facts)
    )
}

/// A connection that fell back for a reason that this side knows.
fn settled(facts: &Facts<'_>, server: &ServerEvidence, cause: Cause) -> Verdict {
    let from = server.source_ip();
    let seen = match facts.arrived() {
        Some(syn) => match (facts.arrived_cookie(), syn.payload_bytes) {
            (Some(cookie), _) if cookie.is_empty() => {
                format!("{from} asked for a cookie and got none")
            }
            (_, payload) => {
                format!(
                    "The SYN from {from} brought {}, which were not taken",
                    bytes(payload.into())
                )
            }
        },
        None => format!("The connection from {from} could not use fast open"),
    };
    Ruling::new(Outcome::Fallback, format!("{seen}: {}", reason(facts, cause)))
        .cause(cause, View::Server)
        .verdict(advice::against(facts, cause))
}
