//! What the bits of an open connection say, when nobody has watched it begin.

use super::{Cause, Outcome};
use crate::connection::{ClientFail, TcpInfo, TcpState};

/// Which end of a connection this host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum End {
    /// It connected.
    Client,
    /// It accepted.
    Server,
}

impl End {
    /// The word, as it stands in text and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What can be said of an open connection from its bits alone.
///
/// Less than a [`Verdict`](super::Verdict): nothing is known of what was tried and what else
/// happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OpenVerdict {
    /// What happened, if the bits settle it.
    #[cfg_attr(feature = "serde", serde(rename = "verdict"))]
    pub outcome: Option<Outcome>,
    /// Why, where the bits say so.
    pub cause: Option<Cause>,
    /// What the bits say, in a few words.
    pub says: &'static str,
}

impl OpenVerdict {
    const fn new(outcome: Option<Outcome>, cause: Option<Cause>, says: &'static str) -> Self {
        Self { outcome, cause, says }
    }

    /// Whether fast open had a part in it, as far as the bits say.
    #[must_use]
    pub fn has_fast_open(&self) -> bool {
        !matches!(self.outcome, None | Some(Outcome::NotAttempted)) || self.says == SYN_WITHOUT_DATA
    }
}

const SYN_WITHOUT_DATA: &str = "fast open, no data in the SYN";

/// Judges an open connection. `cookie_cached`: whether a cookie is cached for its pair of addresses by
/// now; `None` if that is unknown.
#[must_use]
pub fn judge_open(info: &TcpInfo, end: End, cookie_cached: Option<bool>) -> OpenVerdict {
    let verdict = OpenVerdict::new;
    let fallback = |cause, says| verdict(Some(Outcome::Fallback), Some(cause), says);
    if info.syn_data {
        return verdict(Some(Outcome::FastOpen), None, "the SYN's data was taken");
    }
    if end == End::Server {
        return if info.tfo_child {
            // An empty first write, or a box that removes data: one end can't tell.
            verdict(None, None, SYN_WITHOUT_DATA)
        } else {
            // Regular, a request for a cookie, or data that was refused: its socket forgets which.
            verdict(None, None, "regular")
        };
    }
    match (info.client_fail, cookie_cached) {
        (ClientFail::DataNotAcked, _) => {
            fallback(Cause::DataNotAcked, "the SYN's data was not taken")
        }
        (ClientFail::SynRetransmitted, _) => {
            fallback(Cause::SynRetransmitted, "the SYN with data got no answer")
        }
        (ClientFail::CookieUnavailable, _) if info.state == TcpState::SynSent => {
            verdict(None, None, "asking for a cookie")
        }
        (ClientFail::CookieUnavailable, Some(true)) => {
            verdict(Some(Outcome::CookieGranted), None, "asked for a cookie, one is cached by now")
        }
        (ClientFail::CookieUnavailable, Some(false)) => {
            fallback(Cause::NoCookieReturned, "asked for a cookie, none is cached")
        }
        (ClientFail::CookieUnavailable, None) => verdict(None, None, "asked for a cookie"),
        (ClientFail::Unspecified, _) if info.state == TcpState::SynSent => {
            verdict(None, None, "connecting")
        }
        // Regular on purpose, for lack of leave, or for a pause.
        (ClientFail::Unspecified, _) => verdict(Some(Outcome::NotAttempted), None, "regular"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State, options, code.
    fn info(state: u8, options: u8, code: u8) -> TcpInfo {
        TcpInfo::parse(&[state, 0, 0, 0, 0, options, 0, code << 1]).expect("long enough")
    }

    #[test]
    fn the_bits_decide_and_what_they_leave_open_stays_open() {
        let fallback = Some(Outcome::Fallback);
        let table = [
            (End::Client, (1, 0x20, 0), None, Some(Outcome::FastOpen), None),
            (End::Client, (1, 0, 0), None, Some(Outcome::NotAttempted), None),
            (End::Client, (2, 0, 0), None, None, None),
            (End::Client, (2, 0, 1), Some(false), None, None),
            (End::Client, (1, 0, 1), Some(true), Some(Outcome::CookieGranted), None),
            (End::Client, (1, 0, 1), Some(false), fallback, Some(Cause::NoCookieReturned)),
            (End::Client, (1, 0, 1), None, None, None),
            (End::Client, (1, 0, 2), Some(true), fallback, Some(Cause::DataNotAcked)),
            (End::Client, (1, 0, 3), Some(true), fallback, Some(Cause::SynRetransmitted)),
            (End::Server, (3, 0xa0, 0), None, Some(Outcome::FastOpen), None),
            (End::Server, (1, 0x20, 0), None, Some(Outcome::FastOpen), None),
            (End::Server, (1, 0x80, 0), None, None, None),
            (End::Server, (1, 0, 0), None, None, None),
        ];
        for (end, (state, options, code), cookie, outcome, cause) in table {
            let found = judge_open(&info(state, options, code), end, cookie);
            assert_eq!((found.outcome, found.cause), (outcome, cause), "{end:?} {found:?}");
        }
    }

    #[test]
    fn a_child_of_an_empty_syn_counts_as_fast_open() {
        assert!(judge_open(&info(1, 0x80, 0), End::Server, None).has_fast_open());
        assert!(!judge_open(&info(1, 0, 0), End::Server, None).has_fast_open());
        assert!(!judge_open(&info(1, 0, 0), End::Client, None).has_fast_open());
    }
}
