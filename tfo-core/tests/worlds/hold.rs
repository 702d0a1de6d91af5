//! Holds a verdict against the truth.

use tfo_core::diagnosis::{Blame, Cause, Ending, Evidence, Outcome, Verdict};

use crate::truth::Truth;

/// A statement that was false, in words, and the kind of it.
pub(crate) struct False {
    pub(crate) kind: String,
    pub(crate) what: String,
}

/// Words for how a connection looked, not for what acted.
const BROAD: &[Cause] = &[
    Cause::NoCookieReturned,
    Cause::CookieRejected,
    Cause::DataNotAcked,
    Cause::SynRetransmitted,
    Cause::TimedOut,
];

/// Whether a verdict says what acted.
pub(crate) fn decided(verdict: &Verdict, truth: &Truth) -> bool {
    verdict.cause.is_some_and(|cause| {
        (!BROAD.contains(&cause) && truth.acted.contains(&cause))
            || ([Cause::SynRetransmitted, Cause::TimedOut].contains(&cause)
                && truth.acted.contains(&cause))
    })
}

pub(crate) fn hold(
    view: &'static str,
    verdict: &Verdict,
    evidence: &Evidence,
    truth: &Truth,
) -> Vec<False> {
    let of_server = view.starts_with("server");
    let mut found = Vec::new();
    let mut claim = |so: bool, kind: String| {
        if !so {
            found.push(False { what: format!("{view}: {kind}: {verdict}"), kind });
        }
    };
    let acted = |cause: Cause| truth.acted.contains(&cause) || truth.maybe.contains(&cause);
    outcome(verdict, evidence, truth, of_server, &mut claim);
    if let Some(cause) = verdict.cause {
        let so = match cause {
            // A SYN-ACK that was sent again had been lost in the client's host, whatever the path delivered.
            Cause::NoCookieReturned => {
                truth.asked && (!truth.cookie_came || truth.syn_ack_repeated)
            }
            // Where it is the broader word, it says that a new cookie came.
            Cause::CookieRejected => {
                truth.refused_cookie || (truth.cookie_came && !verdict.candidates.is_empty())
            }
            Cause::DataNotAcked => truth.sent_data || of_server,
            Cause::SynRetransmitted => truth.syn_repeated || truth.syn_ack_repeated,
            Cause::TimedOut => verdict.outcome == Outcome::Failed,
            Cause::Unreachable => false,
            cause => acted(cause),
        };
        claim(so, format!("states {cause}"));
        if cause == Cause::SynRetransmitted && verdict.blame == Some(Blame::Path) {
            claim(truth.box_dropped, "blames the path for a repeated SYN".to_owned());
        }
    }
    if verdict.candidates_complete {
        let so = verdict.candidates.iter().any(|cause| match cause {
            Cause::TimedOut => verdict.outcome == Outcome::Failed && !answered_by_error(evidence),
            cause => acted(*cause),
        });
        let names: Vec<_> = verdict.candidates.iter().map(|cause| cause.as_str()).collect();
        claim(so, format!("none of the candidates acted: {}", names.join(" ")));
    }
    let (client, server) =
        if of_server { (Blame::Peer, Blame::ThisHost) } else { (Blame::ThisHost, Blame::Peer) };
    match verdict.blame {
        Some(Blame::Path) => {
            let path = truth.path_acted
                || acted(Cause::Proxied)
                || acted(Cause::DestinationTranslated)
                || acted(Cause::AddressTranslated);
            claim(path, "blames the path".to_owned());
        }
        Some(blame) if blame == client && verdict.cause.is_none() => {
            claim(
                truth.plain || acted(Cause::ClientWithoutCookies),
                "blames the client".to_owned(),
            );
        }
        Some(blame) if blame == server && verdict.cause.is_none() => {
            let causes = [
                Cause::ServerDisabled,
                Cause::ServerSyncookies,
                Cause::ServerWithoutCookies,
                Cause::QueueFull,
                Cause::KeyMismatch,
                Cause::Refused,
                Cause::AcceptQueueFull,
            ];
            claim(causes.iter().any(|cause| acted(*cause)), "blames the server".to_owned());
        }
        _ => {}
    }
    found
}

fn answered_by_error(evidence: &Evidence) -> bool {
    evidence.client.as_ref().is_some_and(|client| matches!(client.result, Ending::Failed(_)))
}

fn outcome(
    verdict: &Verdict,
    evidence: &Evidence,
    truth: &Truth,
    of_server: bool,
    claim: &mut impl FnMut(bool, String),
) {
    let outcome = verdict.outcome;
    let so = match (outcome, of_server) {
        (Outcome::FastOpen, false) => truth.data_acked,
        (Outcome::FastOpen, true) => {
            evidence.server.as_ref().is_some_and(|server| server.tcp.syn_data)
        }
        (Outcome::CookieGranted, false) => truth.asked && truth.cookie_came,
        (Outcome::CookieGranted, true) => truth.cookie_sent,
        (Outcome::Fallback, false) => !truth.data_acked && (truth.asked || truth.sent_data),
        _ => true,
    };
    claim(so, format!("says {outcome}"));
}
