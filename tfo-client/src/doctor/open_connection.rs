//! Judges an open connection by its bits alone: its handshake was not observed.

use tfo_core::diagnosis::{Cause, End, Outcome, Side, classify};
use tfo_core::host::Connection;
use tfo_core::socket::{ClientFail, SynRecord, TcpBits, TcpState};

/// An open connection, judged by its bits alone.
pub(super) struct OpenConnection {
    pub(super) connection: Connection,
    pub(super) end: End,
    /// The outcome; `None` if the bits are inconclusive.
    pub(super) outcome: Option<Outcome>,
    /// The cause, if the bits show it.
    pub(super) cause: Option<Cause>,
    /// The meaning of the bits, in a few words.
    pub(super) description: &'static str,
}

const SYN_WITHOUT_DATA: &str = "fast open, no data in the SYN";

impl OpenConnection {
    /// Judges a connection. `cookie` is whether a cookie is now cached for its pair of addresses; `None` if unknown.
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
        let (cause, description) = (cause.flatten(), describe(settled, tcp, end));
        Self { connection, end, outcome, cause, description }
    }

    /// Returns whether the bits show that fast open was attempted.
    pub(super) fn has_fast_open(&self) -> bool {
        !matches!(self.outcome, None | Some(Outcome::NotAttempted))
            || self.description == SYN_WITHOUT_DATA
    }
}

fn describe(settled: Option<(Outcome, Option<Cause>)>, tcp: TcpBits, end: End) -> &'static str {
    match settled {
        Some((Outcome::FastOpen, _)) => "the SYN's data was accepted",
        Some((Outcome::CookieGranted, _)) => "requested a cookie, now cached",
        Some((_, Some(Cause::DataNotAcked))) => "the SYN's data was not accepted",
        Some((_, Some(Cause::SynRetransmitted))) => "the SYN with data was not answered",
        Some((_, Some(Cause::NoCookieReturned))) => "requested a cookie, none cached",
        // An empty first write, or a middlebox that removes data: one end can't distinguish them.
        None if end == End::Server && tcp.tfo_child => SYN_WITHOUT_DATA,
        None if end == End::Server => "regular",
        None => match (tcp.client_fail, tcp.state) {
            (ClientFail::CookieUnavailable, TcpState::SynSent) => "requesting a cookie",
            (ClientFail::CookieUnavailable, _) => "requested a cookie",
            _ => "connecting",
        },
        // Regular by request, because the host does not allow fast open, or because it is paused.
        Some(_) => "regular",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bits for a TCP state, options and a client failure code.
    fn bits(state: u8, options: u8, code: u8) -> TcpBits {
        TcpBits::parse(&[state, 0, 0, 0, 0, options, 0, code << 1]).expect("long enough")
    }

    #[test]
    fn each_combination_of_bits_is_described() {
        let table = [
            (End::Client, (1, 0x20, 0), None, "the SYN's data was accepted"),
            (End::Client, (1, 0, 0), None, "regular"),
            (End::Client, (2, 0, 0), None, "connecting"),
            (End::Client, (2, 0, 1), Some(false), "requesting a cookie"),
            (End::Client, (1, 0, 1), Some(true), "requested a cookie, now cached"),
            (End::Client, (1, 0, 1), Some(false), "requested a cookie, none cached"),
            (End::Client, (1, 0, 1), None, "requested a cookie"),
            (End::Client, (1, 0, 2), Some(true), "the SYN's data was not accepted"),
            (End::Client, (1, 0, 3), Some(true), "the SYN with data was not answered"),
            (End::Server, (3, 0xa0, 0), None, "the SYN's data was accepted"),
            (End::Server, (1, 0x80, 0), None, SYN_WITHOUT_DATA),
            (End::Server, (1, 0, 0), None, "regular"),
        ];
        for (end, (state, options, code), cookie, expected) in table {
            let tcp = bits(state, options, code);
            let settled = match end {
                End::Server => classify(tcp, Side::server(&SynRecord::NotSaved, None)),
                _ => classify(tcp, Side::client(None, cookie)),
            };
            assert_eq!(
                describe(settled, tcp, end),
                expected,
                "{end:?} {state} {options:#x} {code}"
            );
        }
    }
}
