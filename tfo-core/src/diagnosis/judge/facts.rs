//! The evidence, as the questions that the rules ask of it.

use std::net::{IpAddr, SocketAddr};

use crate::cookie::FastOpenCookie;
use crate::diagnosis::{CachedCookie, ClientEvidence, Evidence, ServerEvidence, ServerHost};
use crate::host::{CounterChange, FastOpenFlags};
use crate::socket::{Attempt, ClientFail, SynSummary};

pub(super) use crate::diagnosis::classify::is_overwritten as overwritten;

/// From which end the verdict is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Client,
    Server,
}

/// What became of the client's cached cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CookieChange {
    /// None before, or not read, and none after.
    StillNone,
    /// One is cached that was not there before.
    New,
    /// It was replaced by another.
    Changed,
    /// It is what it was.
    Same,
    /// The cache could not be read when it mattered.
    Unknown,
}

/// How a supposition stands against the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    Excluded,
    Possible,
    Proven,
}

impl From<Option<bool>> for Support {
    fn from(known: Option<bool>) -> Self {
        match known {
            Some(true) => Self::Proven,
            Some(false) => Self::Excluded,
            None => Self::Possible,
        }
    }
}

/// One connection, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) client: Option<&'a ClientEvidence>,
    pub(super) server: Option<&'a ServerEvidence>,
}

impl<'a> Facts<'a> {
    pub(super) const fn new(evidence: &'a Evidence) -> Self {
        Self { client: evidence.client.as_ref(), server: evidence.server.as_ref() }
    }

    pub(super) const fn of_server(server: &'a ServerEvidence) -> Self {
        Self { client: None, server: Some(server) }
    }

    pub(super) fn view(&self) -> View {
        if self.client.is_some() { View::Client } else { View::Server }
    }

    /// The server's address, as the side that tells the verdict knows it.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        self.client.map(|client| client.remote).or(self.server.map(|server| server.destination))
    }

    /// Bytes of data that the client's SYN took.
    pub(super) fn in_syn(&self) -> usize {
        match self.client.map(|client| client.attempt) {
            Some(Attempt::InSyn(bytes)) => bytes,
            _ => 0,
        }
    }

    /// What the client's cookie cache did. A cache that can't be read before is no hindrance where
    /// only its state afterwards counts.
    pub(super) fn cookie_change(&self) -> CookieChange {
        use CachedCookie::{Hex, None as Missing};
        let Some(client) = self.client else { return CookieChange::Unknown };
        match (&client.cookie_before, &client.cookie_after) {
            (Some(Hex(before)), Some(Hex(after))) if before == after => CookieChange::Same,
            (Some(Hex(_)), Some(Hex(_))) => CookieChange::Changed,
            (Some(Missing), Some(Hex(_))) => CookieChange::New,
            (Some(Missing) | None, Some(Missing)) => CookieChange::StillNone,
            (Some(Hex(_)), Some(Missing)) | (None, Some(Hex(_))) | (_, None) => {
                CookieChange::Unknown
            }
        }
    }

    /// The cookie that the client had cached before it connected.
    pub(super) fn cookie_before(&self) -> Option<FastOpenCookie> {
        self.client?.cookie_before?.cookie()
    }

    /// What [`classify`](crate::diagnosis::classify) takes for the cookie: whether one is cached by now, if one was
    /// asked for; else whether one was cached, which tells something only if there was a message.
    pub(super) fn cookie_cached(&self, code: ClientFail) -> Option<bool> {
        if code != ClientFail::CookieUnavailable {
            let client = self.client.filter(|client| client.message_bytes > 0)?;
            return client.cookie_before?.cookie().map(|_| true);
        }
        match self.cookie_change() {
            // The kernel had none, so one that was read before is of another source address.
            CookieChange::New | CookieChange::Changed => Some(true),
            CookieChange::StillNone => Some(false),
            CookieChange::Same | CookieChange::Unknown => None,
        }
    }

    /// Whether a kernel without codes had to send the SYN again, not only the data.
    pub(super) fn syn_lost_without_code(&self, code: ClientFail) -> bool {
        let retrans = self.client.and_then(|client| client.tcp).map_or(0, |tcp| tcp.total_retrans);
        code == ClientFail::Unspecified && self.syn_repeated() && retrans > 1
    }

    /// Whether the client sends data without a cookie: its setting says so, or it had none.
    pub(super) fn client_without_cookie(&self) -> Option<bool> {
        let client = self.client?;
        if client.tcp_fastopen.is_some_and(FastOpenFlags::client_no_cookie) {
            return Some(true);
        }
        match client.cookie_before {
            Some(CachedCookie::None) => Some(self.in_syn() > 0),
            Some(CachedCookie::Hex(_)) => Some(false),
            None => client.tcp_fastopen.map(|_| false),
        }
    }

    /// Whether the client's SYN was sent again. Lost data counts as retransmission too, but leaves
    /// the SYN's counter alone.
    pub(super) fn syn_repeated(&self) -> bool {
        let Some(client) = self.client else { return false };
        client.tcp.is_some_and(|tcp| tcp.total_retrans > 0)
            && client.counters.is_none_or(|change| change.syn_retrans > 0)
    }

    /// Whether the server sent its SYN-ACK again before the connection was accepted.
    pub(super) fn syn_ack_repeated(&self) -> bool {
        self.server.is_some_and(|server| server.tcp.total_retrans > 0)
    }

    /// The SYN that arrived, if it was saved.
    pub(super) fn arrived(&self) -> Option<&'a SynSummary> {
        self.server?.syn.saved()
    }

    /// The cookie that arrived: empty for a request, `None` without an option.
    pub(super) fn arrived_cookie(&self) -> Option<FastOpenCookie> {
        Some(self.arrived()?.fast_open?.cookie)
    }

    pub(super) fn server_host(&self) -> Option<ServerHost> {
        self.server?.host
    }

    /// Whether fast open is on at the server, by its setting and its listener's queue.
    pub(super) fn server_enabled(&self) -> Option<bool> {
        let host = self.server_host()?;
        Some(host.tcp_fastopen.server() && host.queue > 0)
    }

    /// Whether a fast open queue of the server's host was full in the seconds before, where its counters were not
    /// read for this connection.
    pub(super) fn server_overflowed(&self) -> Option<bool> {
        let server = self.server.filter(|server| server.counters.is_none())?;
        server.host?.overflowed
    }

    /// Whether this connection raised a counter of the server. A rise is ours only if no other
    /// connection was there to cause it; and what did not rise, neither now nor a moment before,
    /// when our SYN may have come already, nobody raised.
    pub(super) fn counted(&self, counter: fn(&CounterChange) -> u64) -> Option<bool> {
        let counters = self.server?.counters.as_deref()?;
        match (counters.connections, counter(&counters.change), counter(&counters.earlier)) {
            (1.., 0, 0) => Some(false),
            (1, 1.., _) => Some(true),
            _ => None,
        }
    }

    /// The client's address at its own end and at the server, where they differ.
    pub(super) fn translation(&self) -> Option<(IpAddr, IpAddr)> {
        let (here, there) = (self.client_ip()?, self.server?.source_ip());
        (here != there).then_some((here, there))
    }

    /// Whether the client's address is another one at the server.
    pub(super) fn translated(&self) -> Option<bool> {
        self.client_ip()?;
        self.server?;
        Some(self.translation().is_some())
    }

    fn client_ip(&self) -> Option<IpAddr> {
        Some(self.client?.local?.ip().to_canonical()).filter(|ip| !ip.is_unspecified())
    }
}
