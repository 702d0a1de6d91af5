//! What the bits say of a connection that got its answer, for who makes too many to keep evidence of each.

use super::{Cause, Outcome};
use crate::socket::Attempt;
use crate::socket::{ClientFail, FastOpenStatus};

/// [`judge`](super::judge) in brief, for an answered connection: what happened and why, as far as its own bits say.
///
/// `cookie_cached`: whether the server has granted a cookie to this connection's source address; `None` if that
/// is unknown. A cause that the bits leave open is the broader word.
#[must_use]
pub fn judge_answered(
    attempt: Attempt,
    status: FastOpenStatus,
    cookie_cached: Option<bool>,
) -> (Outcome, Option<Cause>) {
    let fallback = |cause| (Outcome::Fallback, Some(cause));
    if status.syn_data {
        return (Outcome::FastOpen, None);
    }
    match attempt {
        Attempt::Regular => return (Outcome::NotAttempted, Some(Cause::DisabledByConfig)),
        Attempt::ClientDisabled => return (Outcome::NotAttempted, Some(Cause::ClientDisabled)),
        Attempt::InSyn(_) | Attempt::AfterHandshake => {}
    }
    match (status.client_fail, attempt, cookie_cached) {
        (ClientFail::CookieUnavailable, _, Some(true)) => (Outcome::CookieGranted, None),
        (ClientFail::CookieUnavailable, _, Some(false)) => fallback(Cause::NoCookieReturned),
        // The latter of a kernel without codes.
        (ClientFail::DataNotAcked, ..) | (ClientFail::Unspecified, Attempt::InSyn(1..), _) => {
            fallback(Cause::DataNotAcked)
        }
        (ClientFail::SynRetransmitted, ..) => fallback(Cause::SynRetransmitted),
        (ClientFail::Unspecified, _, Some(true)) => {
            (Outcome::NotAttempted, Some(Cause::PausedByBlackhole))
        }
        (ClientFail::CookieUnavailable | ClientFail::Unspecified, ..) => (Outcome::Fallback, None),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::diagnosis::{CachedCookie, ClientEvidence, Ending, Evidence, TcpBits, judge};
    use crate::socket::TcpInfo;

    /// The evidence of an answered connection. A cookie that is cached now was granted by it, or, with no code of
    /// the kernel, was there before.
    fn evidence(attempt: Attempt, bytes: [u8; 8], cached: Option<bool>) -> Evidence {
        let cookie = |cached: bool| {
            if cached { CachedCookie::Hex("00112233".to_owned()) } else { CachedCookie::None }
        };
        let asked = bytes[7] >> 1 == 1;
        let client = ClientEvidence {
            remote: SocketAddr::from(([192, 0, 2, 2], 2222)),
            local: None,
            message_bytes: 64,
            attempt,
            result: Ending::Answered,
            tcp: Some(TcpBits::from(&TcpInfo::parse(&bytes).unwrap())),
            tcp_fastopen: None,
            cookie_before: cached.map(|cached| cookie(cached && !asked)),
            cookie_after: cached.map(cookie),
            counters: None,
            regular_check: None,
        };
        Evidence::new(Some(client), None)
    }

    #[test]
    fn it_agrees_with_the_rules_for_one_connection() {
        let attempts = [
            Attempt::InSyn(64),
            Attempt::AfterHandshake,
            Attempt::Regular,
            Attempt::ClientDisabled,
        ];
        for attempt in attempts {
            for (options, code) in [(0x20, 0), (0, 0), (0, 1), (0, 2), (0, 3)] {
                for cached in [None, Some(false), Some(true)] {
                    let bytes = [1, 0, 0, 0, 0, options, 0, code << 1];
                    let full = judge(&evidence(attempt, bytes, cached));
                    let brief = judge_answered(attempt, FastOpenStatus::parse(bytes), cached);
                    let case = format!("{attempt:?} {options:#x} {code} {cached:?}");
                    assert_eq!(brief, (full.outcome, full.cause), "{case}");
                }
            }
        }
    }
}
