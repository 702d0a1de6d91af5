//! What a client can say about the handshake of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use super::opening::{Opening, Phase};
use crate::diagnosis::{CachedCookie, ClientEvidence, Ending, Evidence, Verdict, judge};
use crate::host::cookie_cache;
use crate::socket::{Attempt, ClientFail, TcpBits};

/// What happened in the handshake of a client's connection: whether its SYN carried data, and why not.
///
/// A cheap handle that does not keep the connection open. The kernel is asked once, as soon as the handshake has
/// ended; what it reports then does not change. Until that moment the methods return `None`; after the first byte of
/// an answer they return what there is, also after the connection has been closed.
///
/// It is about the connection. On a connection that is used for several requests, the SYN can have carried only the
/// first of them.
#[derive(Debug, Clone)]
pub struct Handshake(Arc<Opening>);

impl Handshake {
    pub(super) fn new(opening: &Arc<Opening>) -> Self {
        Self(Arc::clone(opening))
    }

    /// Returns the server's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer()
    }

    /// Returns what the kernel did with the first bytes. `None`: nothing has been written.
    #[must_use]
    pub fn attempt(&self) -> Option<Attempt> {
        self.0.attempt()
    }

    /// Returns what the kernel reports about the connection. `None`: the handshake has not ended.
    #[must_use]
    pub fn tcp(&self) -> Option<TcpBits> {
        self.0.seen().map(|seen| seen.tcp)
    }

    /// Returns the evidence, for [`judge`].
    ///
    /// If the connection asked for a cookie, the kernel's cookie cache is read now: whether it contains one shows
    /// whether the server granted one, to this connection or to another one of the same addresses.
    #[must_use]
    pub fn evidence(&self) -> Option<ClientEvidence> {
        let seen = self.0.seen()?;
        let (remote, local) = (self.peer_addr(), seen.local);
        let attempt = self.attempt().unwrap_or(Attempt::InSyn(0));
        let cached = || {
            let source = local.map(|local| local.ip().to_canonical());
            let entry = cookie_cache::get(source, remote.ip()).ok()?;
            let cookie = entry.and_then(|entry| entry.cookie);
            Some(cookie.map_or(CachedCookie::None, CachedCookie::Hex))
        };
        let (cookie_before, cookie_after) = match (seen.tcp.client_fail, attempt) {
            // The kernel's code states that none was cached.
            (ClientFail::CookieUnavailable, _) => (Some(CachedCookie::None), cached()),
            // The SYN had no option: if a cookie is cached, fast open is paused.
            (ClientFail::Unspecified, Attempt::AfterHandshake) => (cached(), None),
            _ => (None, None),
        };
        // The SYN of a read has no message.
        let message_bytes = if attempt == Attempt::InSyn(0) { 0 } else { self.0.first_bytes() };
        let answered = self.0.phase() == Phase::Answered;
        Some(ClientEvidence {
            local,
            attempt,
            result: if answered { Ending::Answered } else { Ending::Connected },
            tcp: Some(seen.tcp),
            cookie_before,
            cookie_after,
            remote,
            message_bytes,
            tcp_fastopen: None,
            counters: None,
            regular_check: None,
            sent: None,
            syn_timestamps: None,
            route_without_cookie: None,
            tcp_ecn: None,
            first_byte_us: None,
            cookie_addresses: None,
            repetition: None,
        })
    }

    /// Returns the verdict on the connection: whether a round trip was saved, and why not.
    ///
    /// It rests on the client's half of the evidence alone, which often leaves several causes.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.evidence().map(|client| judge(&Evidence::new(Some(client), None)))
    }
}
