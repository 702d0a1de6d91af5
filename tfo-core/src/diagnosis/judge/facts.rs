//! The evidence, as the questions that the rules ask of it.

use std::net::{IpAddr, SocketAddr};

use crate::cookie::FastOpenCookie;
use crate::diagnosis::rules::{self, Sign, Symptom};
use crate::diagnosis::{
    CachedCookie, Cause, ClientEvidence, CookieOrigin, Evidence, RegularCheck, ServerEvidence,
    ServerHost,
};
use crate::host::{CounterChange, FastOpenFlags};
use crate::socket::{Attempt, ClientFail, SynRecord, SynSummary};

pub(super) use crate::diagnosis::classify::is_overwritten as overwritten;

/// The end from which the verdict is seen.
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

/// One connection, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) client: Option<&'a ClientEvidence>,
    /// Of this very connection: evidence of another one is left out.
    pub(super) server: Option<&'a ServerEvidence>,
    /// Whether the server's half is of the client's connection.
    same: Option<bool>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let (client, server) = (evidence.client.as_ref(), evidence.server.as_ref());
        let same = evidence.same_connection();
        Self { client, server: server.filter(|_| same != Some(false)), same }
    }

    pub(super) const fn of_server(server: &'a ServerEvidence) -> Self {
        Self { client: None, server: Some(server), same: None }
    }

    /// The causes of this symptom that the evidence does not exclude, as far as they are this view's to state.
    pub(super) fn candidates(&self, symptom: Symptom) -> Vec<Cause> {
        let mut left = rules::candidates(symptom, |sign| self.read(sign));
        if self.view() == View::Server {
            // What happens to the answer, or before the SYN of this connection, is out of its sight.
            left.retain(|cause| match cause {
                Cause::SynAckOptionStripped | Cause::Proxied => false,
                Cause::SynRetransmitted => symptom != Symptom::NoCookie,
                _ => true,
            });
        }
        left
    }

    /// Whether each sign that a cause requires is known to be there.
    pub(super) fn proved(&self, symptom: Symptom, cause: Cause) -> bool {
        let mut rules =
            rules::RULES.iter().filter(|rule| rule.symptom == symptom && rule.cause == cause);
        rules.any(|rule| rule.requires.iter().all(|(sign, there)| self.read(*sign) == Some(*there)))
    }

    /// Whether a sign is there.
    pub(super) fn read(&self, sign: Sign) -> Option<bool> {
        match sign {
            Sign::SameConnection => self.same,
            Sign::CookieSent => self.cookie_sent(),
            Sign::OptionArrived => match (self.arrived(), self.counted_option()) {
                (Some(syn), _) => Some(syn.fast_open.is_some()),
                (None, counted) => counted.then_some(true),
            },
            Sign::CookieArrived => match self.arrived() {
                Some(syn) => Some(syn.fast_open.is_some_and(|option| !option.is_request())),
                None => (self.counted(|n| n.passive_fail) == Some(true)).then_some(true),
            },
            Sign::DataArrived => match self.arrived() {
                Some(syn) => Some(syn.payload_bytes > 0),
                None => self.server?.tcp.syn_data.then_some(true),
            },
            Sign::CookieUnchanged => self.cookie_unchanged(),
            Sign::CookieGenuine => {
                self.server?.cookie_origin.map(|origin| origin != CookieOrigin::Unknown)
            }
            Sign::CookieValid => {
                self.server?.cookie_origin.map(|origin| origin == CookieOrigin::Current)
            }
            Sign::SynCookie => self.syn_cookie(),
            Sign::ServerEnabled => self.server_enabled(),
            Sign::AsksForCookies => self.asks_for_cookies(),
            Sign::Child => self.child(),
            Sign::QueueOverflowed => self.counted(|n| n.listen_overflow),
            Sign::CookieRefused => match self.counted(|n| n.passive_fail) {
                None if self.cookie_change() == CookieChange::Changed => Some(true),
                counted => counted,
            },
            Sign::NewCookie => match self.cookie_change() {
                CookieChange::Changed => Some(true),
                CookieChange::Same => Some(false),
                CookieChange::StillNone | CookieChange::New | CookieChange::Unknown => None,
            },
            Sign::CookieForSource => self.cookie_for_source(),
            Sign::CookieForDestination => self.cookie_for_destination(),
            Sign::PartAcknowledged => self.part_acknowledged(),
            Sign::SynAbovePathMtu => self.syn_above_path_mtu(),
            Sign::ListenDropped => self.counted(|n| n.listen_drops),
            Sign::HandshakeRepeated => self.handshake_repeated(),
            Sign::RegularFailsAlike => self.regular_fails_alike(),
            Sign::MessageAcknowledged => self.message_acknowledged(),
        }
    }

    /// Whether a counter shows that a fast open option came with this SYN.
    fn counted_option(&self) -> bool {
        self.counted(|n| n.cookie_reqd) == Some(true)
            || self.counted(|n| n.passive_fail) == Some(true)
    }

    fn cookie_sent(&self) -> Option<bool> {
        if let Some(cookie) = self.arrived_cookie()
            && !cookie.is_empty()
        {
            return Some(true);
        }
        let Some(client) = self.client else {
            // Data in a SYN was meant for fast open: what was overwritten was its option.
            let syn = self.arrived().filter(|syn| syn.payload_bytes > 0)?;
            return overwritten(syn).then_some(true);
        };
        match (self.client_without_cookie(), client.route_without_cookie) {
            (Some(true), _) | (_, Some(true)) => Some(false),
            (Some(false), Some(false)) => Some(true),
            _ => None,
        }
    }

    fn cookie_unchanged(&self) -> Option<bool> {
        let arrived = self.arrived_cookie().filter(|cookie| !cookie.is_empty());
        if let Some((arrived, sent)) = arrived.zip(self.cookie_before()) {
            return Some(arrived == sent);
        }
        match self.server.and_then(|server| server.cookie_origin) {
            Some(CookieOrigin::Current | CookieOrigin::OtherKey | CookieOrigin::OtherSource) => {
                Some(true)
            }
            // What a server sends is of its primary key, and may differ from what was cached and changed.
            Some(CookieOrigin::Unknown) | None => None,
        }
    }

    fn syn_cookie(&self) -> Option<bool> {
        let server = self.server?;
        let setting = server.host.map(|host| host.syncookies);
        match (&server.syn, setting) {
            (SynRecord::SynCookie, _) => Some(true),
            (SynRecord::Saved(_), _) | (_, Some(0)) => Some(false),
            (SynRecord::NotSaved, _) if self.counted_option() || has_child(server) => Some(false),
            (SynRecord::NotSaved, Some(2)) => Some(true),
            (SynRecord::NotSaved, _) => None,
        }
    }

    fn asks_for_cookies(&self) -> Option<bool> {
        let request = self.arrived_cookie().is_some_and(|cookie| cookie.is_empty());
        // A child of a mere request was made without a cookie.
        if request && self.child() == Some(true) {
            return Some(false);
        }
        let host = self.server_host()?;
        if host.tcp_fastopen.server_no_cookie() { Some(false) } else { host.asks_for_cookies }
    }

    fn child(&self) -> Option<bool> {
        let server = self.server?;
        if has_child(server) {
            return Some(true);
        }
        if server.host.is_some_and(|host| host.sets_child_bit) {
            return Some(false);
        }
        self.counted(|n| n.passive)
    }

    fn cookie_for_source(&self) -> Option<bool> {
        let server = self.server?;
        if let Some(made) = self.client.and_then(|client| client.cookie_addresses) {
            return Some(made.source == server.source_ip());
        }
        match server.cookie_origin {
            Some(CookieOrigin::Current | CookieOrigin::OtherKey) => Some(true),
            Some(CookieOrigin::OtherSource) => Some(false),
            Some(CookieOrigin::Unknown) | None => {
                (self.translated() == Some(false)).then_some(true)
            }
        }
    }

    fn cookie_for_destination(&self) -> Option<bool> {
        let server = self.server?;
        let here = server.destination_ip()?;
        match (self.client.and_then(|client| client.cookie_addresses), server.cookie_origin) {
            (Some(made), _) => Some(made.destination == here),
            (None, Some(CookieOrigin::Unknown) | None) => {
                (self.client?.remote.ip().to_canonical() == here).then_some(true)
            }
            (None, Some(_)) => Some(true),
        }
    }

    fn part_acknowledged(&self) -> Option<bool> {
        let Some(client) = self.client else { return Some(false) };
        let again = client.sent?.bytes_retrans?;
        // Only lost data is sent again: with none of it acknowledged, all of it is.
        Some(again > 0 && again < self.in_syn() as u64)
    }

    fn syn_above_path_mtu(&self) -> Option<bool> {
        let client = self.client?;
        let path_mtu = client.sent?.path_mtu? as usize;
        let ip = if client.remote.ip().to_canonical().is_ipv4() { 20 } else { 40 };
        // The headers, with the options that each SYN has.
        Some(self.in_syn() + ip + 40 > path_mtu)
    }

    fn regular_fails_alike(&self) -> Option<bool> {
        let client = self.client?;
        if let Some(repetition) = client.repetition {
            return repetition.regular_fails_alike();
        }
        match client.regular_check {
            Some(RegularCheck::Connected) | None => None,
            Some(RegularCheck::Failed(_) | RegularCheck::TimedOut) => Some(true),
        }
    }

    fn handshake_repeated(&self) -> Option<bool> {
        self.client?;
        if self.syn_ack_repeated() || self.syn_repeated() == Some(true) {
            return Some(true);
        }
        // Of a SYN-ACK only the server knows. That the answer came soon does not tell: a SYN that a box sends twice
        // makes the server repeat its SYN-ACK at once.
        self.server.and(self.syn_repeated())
    }

    fn message_acknowledged(&self) -> Option<bool> {
        let client = self.client?;
        let bytes = client.message_bytes as u64;
        if bytes > 0 && client.tcp.is_some_and(|tcp| tcp.syn_data) && self.in_syn() as u64 >= bytes
        {
            return Some(true);
        }
        // The SYN counts as one byte.
        Some(client.sent?.bytes_acked?.saturating_sub(1) >= bytes)
    }

    pub(super) fn view(&self) -> View {
        if self.client.is_some() { View::Client } else { View::Server }
    }

    /// The server's address, as the end of the verdict knows it.
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
        code == ClientFail::Unspecified && self.syn_repeated() != Some(false) && retrans > 1
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

    /// Whether the client's setting or its route says that its data goes without a cookie.
    pub(super) fn never_asks(&self) -> bool {
        self.client.is_some_and(|client| {
            client.route_without_cookie == Some(true)
                || client.tcp_fastopen.is_some_and(FastOpenFlags::client_no_cookie)
        })
    }

    /// Whether the SYN carried a cookie, as far as is known.
    pub(super) fn cookie_sent_or_unknown(&self) -> bool {
        self.cookie_sent() != Some(false)
    }

    /// Whether the client's SYN was sent again. Lost data counts as retransmission too, but leaves the SYN's counter
    /// alone, which counts the SYNs of all connections.
    pub(super) fn syn_repeated(&self) -> Option<bool> {
        let client = self.client?;
        let retrans = client.tcp?.total_retrans;
        if retrans == 0 || client.counters.is_some_and(|change| change.syn_retrans == 0) {
            return Some(false);
        }
        match client.sent.and_then(|sent| sent.bytes_retrans) {
            None | Some(0) => Some(true),
            // There was data among them.
            Some(_) if retrans == 1 => Some(false),
            Some(_) => None,
        }
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

    /// Whether this connection raised a counter of the server's host. What did not rise, neither now nor a moment
    /// before, when the SYN may have come already, nobody raised; a rise is this connection's only if nobody else
    /// can have caused it.
    pub(super) fn counted(&self, counter: fn(&CounterChange) -> u64) -> Option<bool> {
        let counters = self.server?.counters.as_deref()?;
        match (counters.alone, counter(&counters.change), counter(&counters.earlier)) {
            (_, 0, 0) => Some(false),
            // A rise above what one connection can cause is somebody else's.
            (Some(true), 1, _) => Some(true),
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

fn has_child(server: &ServerEvidence) -> bool {
    server.tcp.tfo_child || server.tcp.syn_data
}
