//! What the bits of a connection settle by themselves: the one fast path of [`judge`](super::judge).

use super::{Cause, Outcome, ServerHost};
use crate::socket::{Attempt, ClientFail, SynRecord, SynSummary, TcpBits, TcpState};

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
    /// Returns the word used in text and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// The end whose bits are classified, with what is known there beside them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Side<'a> {
    /// This host connected.
    #[non_exhaustive]
    Client {
        /// What the kernel did with the first bytes. `None`: another program's connection.
        attempt: Option<Attempt>,
        /// Whether a cookie is cached for the connection's addresses: by now if it asked for one, else
        /// before it was made. `None`: the cache was not read.
        cookie: Option<bool>,
    },
    /// This host accepted.
    #[non_exhaustive]
    Server {
        /// The SYN that made the connection.
        syn: &'a SynRecord,
        /// What the host allows, as far as it was read.
        host: Option<ServerHost>,
    },
}

impl<'a> Side<'a> {
    /// Creates the side that connected.
    #[must_use]
    pub const fn client(attempt: Option<Attempt>, cookie: Option<bool>) -> Self {
        Self::Client { attempt, cookie }
    }

    /// Creates the side that accepted.
    #[must_use]
    pub const fn server(syn: &'a SynRecord, host: Option<ServerHost>) -> Self {
        Self::Server { syn, host }
    }
}

/// Returns what happened and why, where the bits settle it: no text, no allocation.
///
/// ```no_run
/// use tfo_core::diagnosis::{Outcome, Side, classify};
/// use tfo_core::socket::{FastOpenStream, option};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let stream = FastOpenStream::connect("192.0.2.1:2222", b"hello\n")?;
/// let bits = option::tcp_bits(&stream)?;
/// match classify(bits, Side::client(stream.attempt(), None)) {
///     Some((Outcome::FastOpen, _)) => println!("one round trip saved"),
///     Some((outcome, cause)) => println!("{outcome}: {cause:?}"),
///     None => println!("the bits alone do not settle it"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// [`judge`](super::judge) begins with it. It keeps the outcome, and replaces a broad cause by a better one where
/// the rest of the evidence allows that.
#[must_use]
pub fn classify(tcp: TcpBits, side: Side<'_>) -> Option<(Outcome, Option<Cause>)> {
    match side {
        Side::Client { attempt, cookie } => of_client(tcp, attempt, cookie),
        Side::Server { syn, host } => of_server(tcp, syn, host),
    }
}

fn of_client(
    tcp: TcpBits,
    attempt: Option<Attempt>,
    cookie: Option<bool>,
) -> Option<(Outcome, Option<Cause>)> {
    let fallback = |cause| Some((Outcome::Fallback, Some(cause)));
    if tcp.syn_data {
        return Some((Outcome::FastOpen, None));
    }
    if let Some(not_attempted) = attempt.and_then(not_attempted) {
        return Some(not_attempted);
    }
    match (tcp.client_fail, attempt, cookie) {
        (ClientFail::DataNotAcked, ..) => fallback(Cause::DataNotAcked),
        (ClientFail::SynRetransmitted, ..) => fallback(Cause::SynRetransmitted),
        // The handshake has not ended.
        _ if tcp.state == TcpState::SynSent => None,
        (ClientFail::CookieUnavailable, _, Some(true)) => Some((Outcome::CookieGranted, None)),
        (ClientFail::CookieUnavailable, _, Some(false)) => fallback(Cause::NoCookieReturned),
        // A kernel without codes.
        (ClientFail::Unspecified, Some(Attempt::InSyn(1..)), _) => fallback(Cause::DataNotAcked),
        (ClientFail::Unspecified, Some(_), Some(true)) => {
            Some((Outcome::NotAttempted, Some(Cause::PausedByBlackhole)))
        }
        // Regular on purpose, because the host does not allow more, or for a pause.
        (ClientFail::Unspecified, None, _) => Some((Outcome::NotAttempted, None)),
        (ClientFail::CookieUnavailable, _, None) | (ClientFail::Unspecified, ..) => None,
    }
}

/// A connection without fast open at the client, on purpose or not.
pub(super) fn not_attempted(attempt: Attempt) -> Option<(Outcome, Option<Cause>)> {
    match attempt {
        Attempt::Regular => Some((Outcome::NotAttempted, Some(Cause::DisabledByConfig))),
        Attempt::Paused => Some((Outcome::NotAttempted, Some(Cause::PausedByProgram))),
        Attempt::ClientDisabled => Some((Outcome::NotAttempted, Some(Cause::ClientDisabled))),
        Attempt::InSyn(_) | Attempt::AfterHandshake => None,
    }
}

fn of_server(
    tcp: TcpBits,
    syn: &SynRecord,
    host: Option<ServerHost>,
) -> Option<(Outcome, Option<Cause>)> {
    if tcp.syn_data {
        // Once is what a duplicated SYN or a lost acknowledgment does to a live path as well.
        let dead = tcp.state == TcpState::SynRecv && tcp.total_retrans > 1;
        return (!dead).then_some((Outcome::FastOpen, None));
    }
    let syn = syn.saved()?;
    match syn.fast_open {
        _ if syn.payload_bytes > 0 => None,
        None if is_overwritten(syn) => None,
        None => Some((Outcome::NotAttempted, None)),
        // A server without cookies would have made a child of it. Then nothing but a full queue withholds
        // the cookie.
        Some(option) if option.is_request() && !tcp.tfo_child && host.is_some_and(grants) => {
            Some((Outcome::CookieGranted, None))
        }
        Some(_) => None,
    }
}

/// Whether a cookie request that made no child is known to have got its cookie.
fn grants(host: ServerHost) -> bool {
    host.tcp_fastopen.server()
        && host.queue > 0
        && host.sets_child_bit
        && host.overflowed == Some(false)
}

/// Whether the end of this SYN's options is what an overwritten option leaves: more NOPs than alignment
/// takes.
pub(super) fn is_overwritten(syn: &SynSummary) -> bool {
    syn.fast_open.is_none() && syn.trailing_nops >= 4
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::cookie::FastOpenCookie;
    use crate::diagnosis::{CachedCookie, ClientEvidence, Ending, Evidence, judge};

    /// State, options, code.
    fn bits(state: u8, options: u8, code: u8) -> TcpBits {
        TcpBits::parse(&[state, 0, 0, 0, 0, options, 0, code << 1]).expect("long enough")
    }

    /// The evidence of an answered connection. A cookie that is cached now was granted by it, or, with no code of
    /// the kernel, was there before.
    fn evidence(attempt: Attempt, tcp: TcpBits, cached: Option<bool>) -> Evidence {
        let some = CachedCookie::Hex(FastOpenCookie::from_hex("00112233").expect("hex"));
        let cookie = |cached: bool| if cached { some } else { CachedCookie::None };
        let asked = tcp.client_fail == ClientFail::CookieUnavailable;
        let client = ClientEvidence {
            remote: SocketAddr::from(([192, 0, 2, 2], 2222)),
            local: None,
            message_bytes: 64,
            attempt,
            result: Ending::Answered,
            tcp: Some(tcp),
            tcp_fastopen: None,
            cookie_before: cached.map(|cached| cookie(cached && !asked)),
            cookie_after: cached.map(cookie),
            counters: None,
            regular_check: None,
            sent: None,
            syn_timestamps: None,
            route_without_cookie: None,
            tcp_ecn: None,
            first_byte_us: None,
            cookie_addresses: None,
            repetition: None,
        };
        Evidence::new(Some(client), None)
    }

    #[test]
    fn judge_agrees_on_an_answered_connection() {
        let attempts = [
            Attempt::InSyn(64),
            Attempt::AfterHandshake,
            Attempt::Regular,
            Attempt::Paused,
            Attempt::ClientDisabled,
        ];
        for attempt in attempts {
            for (options, code) in [(0x20, 0), (0, 0), (0, 1), (0, 2), (0, 3)] {
                for cached in [None, Some(false), Some(true)] {
                    let tcp = bits(1, options, code);
                    let full = judge(&evidence(attempt, tcp, cached));
                    let brief = classify(tcp, Side::client(Some(attempt), cached));
                    let case = format!("{attempt:?} {options:#x} {code} {cached:?}");
                    let open = (Outcome::Fallback, None);
                    assert_eq!(brief.unwrap_or(open), (full.outcome, full.cause), "{case}");
                }
            }
        }
    }

    #[test]
    fn what_the_bits_of_an_open_connection_leave_open_stays_open() {
        let client = |cookie| Side::client(None, cookie);
        let server = Side::server(&SynRecord::NotSaved, None);
        let fallback = |cause| Some((Outcome::Fallback, Some(cause)));
        let fast_open = Some((Outcome::FastOpen, None));
        let table = [
            (client(None), (1, 0x20, 0), fast_open),
            (client(None), (1, 0, 0), Some((Outcome::NotAttempted, None))),
            (client(None), (2, 0, 0), None),
            (client(Some(false)), (2, 0, 1), None),
            (client(Some(true)), (1, 0, 1), Some((Outcome::CookieGranted, None))),
            (client(Some(false)), (1, 0, 1), fallback(Cause::NoCookieReturned)),
            (client(None), (1, 0, 1), None),
            (client(Some(true)), (1, 0, 2), fallback(Cause::DataNotAcked)),
            (client(Some(true)), (1, 0, 3), fallback(Cause::SynRetransmitted)),
            (server, (3, 0xa0, 0), fast_open),
            (server, (1, 0x20, 0), fast_open),
            (server, (1, 0x80, 0), None),
            (server, (1, 0, 0), None),
        ];
        for (side, (state, options, code), expected) in table {
            assert_eq!(classify(bits(state, options, code), side), expected, "{side:?}");
        }
    }
}
