//! What the bits of an open connection say, when nobody has watched it begin.

use tfo_core::diagnosis::{Cause, End, Outcome, Side, classify};
use tfo_core::host::Connection;
use tfo_core::socket::{ClientFail, SynRecord, TcpBits, TcpState};

/// An open connection, and what its bits alone say of fast open.
pub(super) struct OpenConnection {
    pub(super) connection: Connection,
    pub(super) end: End,
    /// What happened, if the bits settle it.
    pub(super) outcome: Option<Outcome>,
    /// Why, where the bits say so.
    pub(super) cause: Option<Cause>,
    /// What the bits say, in a few words.
    pub(super) says: &'static str,
}

const SYN_WITHOUT_DATA: &str = "fast open, no data in the SYN";

impl OpenConnection {
    /// `cookie`: whether a cookie is cached for its pair of addresses by now; `None` if that is unknown.
    pub(super) fn new(
        connection: Connection,
        tcp: TcpBits,
        end: End,
        cookie: Option<bool>,
    ) -> Self {
        let settled = match end {
            End::Server => classify(tcp, Side::server(&SynRecord::NotSaved, None)),
            _ => classify(tcp, Side::client(None, cookie)),
        };
        let (outcome, cause) = settled.unzip();
        let (cause, says) = (cause.flatten(), words(settled, tcp, end));
        Self { connection, end, outcome, cause, says }
    }

    /// Whether fast open had a part in it, as far as the bits say.
    pub(super) fn has_fast_open(&self) -> bool {
        !matches!(self.outcome, None | Some(Outcome::NotAttempted)) || self.says == SYN_WITHOUT_DATA
    }
}

fn words(settled: Option<(Outcome, Option<Cause>)>, tcp: TcpBits, end: End) -> &'static str {
    match settled {
        Some((Outcome::FastOpen, _)) => "the SYN's data was taken",
        Some((Outcome::CookieGranted, _)) => "asked for a cookie, one is cached by now",
        Some((_, Some(Cause::DataNotAcked))) => "the SYN's data was not taken",
        Some((_, Some(Cause::SynRetransmitted))) => "the SYN with data got no answer",
        Some((_, Some(Cause::NoCookieReturned))) => "asked for a cookie, none is cached",
        // An empty first write, or a box that removes data: one end can't tell.
        None if end == End::Server && tcp.tfo_child => SYN_WITHOUT_DATA,
        None if end == End::Server => "regular",
        None => match (tcp.client_fail, tcp.state) {
            (ClientFail::CookieUnavailable, TcpState::SynSent) => "asking for a cookie",
            (ClientFail::CookieUnavailable, _) => "asked for a cookie",
            _ => "connecting",
        },
        // Regular on purpose, because the host does not allow more, or for a pause.
        Some(_) => "regular",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State, options, code.
    fn bits(state: u8, options: u8, code: u8) -> TcpBits {
        TcpBits::parse(&[state, 0, 0, 0, 0, options, 0, code << 1]).expect("long enough")
    }

    #[test]
    fn each_case_has_its_words() {
        let table = [
            (End::Client, (1, 0x20, 0), None, "the SYN's data was taken"),
            (End::Client, (1, 0, 0), None, "regular"),
            (End::Client, (2, 0, 0), None, "connecting"),
            (End::Client, (2, 0, 1), Some(false), "asking for a cookie"),
            (End::Client, (1, 0, 1), Some(true), "asked for a cookie, one is cached by now"),
            (End::Client, (1, 0, 1), Some(false), "asked for a cookie, none is cached"),
            (End::Client, (1, 0, 1), None, "asked for a cookie"),
            (End::Client, (1, 0, 2), Some(true), "the SYN's data was not taken"),
            (End::Client, (1, 0, 3), Some(true), "the SYN with data got no answer"),
            (End::Server, (3, 0xa0, 0), None, "the SYN's data was taken"),
            (End::Server, (1, 0x80, 0), None, SYN_WITHOUT_DATA),
            (End::Server, (1, 0, 0), None, "regular"),
        ];
        for (end, (state, options, code), cookie, expected) in table {
            let tcp = bits(state, options, code);
            let settled = match end {
                End::Server => classify(tcp, Side::server(&SynRecord::NotSaved, None)),
                _ => classify(tcp, Side::client(None, cookie)),
            };
            assert_eq!(words(settled, tcp, end), expected, "{end:?} {state} {options:#x} {code}");
        }
    }
}
