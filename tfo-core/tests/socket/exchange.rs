//! Connections between the two hosts, with both ends at hand.

use std::io::Read;
use std::net::SocketAddr;

use tfo_core::host::cookie_cache;
use tfo_core::socket::{
    Accepted, Arrival, ConnectError, Connector, FastOpenListener, FastOpenStream, Method,
    SynRecord, SynSummary,
};

use crate::support::Net;

/// Both ways to pass the first bytes to the kernel.
pub(crate) const METHODS: [Method; 2] = [Method::SendTo, Method::Connect];

pub(crate) fn by(method: Method) -> Connector {
    FastOpenStream::connector().method(method)
}

impl Net {
    /// Connects from the client.
    pub(crate) fn connect(
        &self,
        connector: &Connector,
        server: SocketAddr,
        first: &'static [u8],
    ) -> Result<FastOpenStream, ConnectError> {
        let connector = connector.clone();
        self.client.run(move || connector.connect(server, first))
    }

    /// Connects from the client, accepts at the server, and reads there what the client sent.
    pub(crate) fn exchange(
        &self,
        listener: &FastOpenListener,
        connector: &Connector,
        first: &'static [u8],
    ) -> (FastOpenStream, Accepted) {
        let client = self.connect(connector, listener.local_addr(), first).expect("it listens");
        let mut server = listener.accept().expect("a connection waits");
        let mut received = vec![0; first.len()];
        server.stream.read_exact(&mut received).expect("the message was sent");
        assert_eq!(received, first, "what arrived is what was sent");
        (client, server)
    }

    /// Lets the client fetch its cookie for this server.
    pub(crate) fn fetch_cookie(&self, listener: &FastOpenListener) {
        let (_, server) = self.exchange(listener, &Connector::default(), b"ask");
        let asked = syn(&server.arrival).fast_open.is_some_and(|option| option.is_request());
        assert!(asked, "the first connection asks for a cookie");
        assert!(self.cookie(listener).is_some(), "the server granted one");
    }

    /// Returns the client's cached cookie for this server, as hex digits.
    pub(crate) fn cookie(&self, listener: &FastOpenListener) -> Option<String> {
        let server = listener.local_addr().ip();
        let entry = self.client.run(move || cookie_cache::get(None, server)).expect("readable");
        entry.and_then(|entry| entry.cookie).map(|cookie| cookie.to_string())
    }

    /// Returns the states of the client's sockets, as in `/proc/net/tcp`.
    pub(crate) fn client_states(&self) -> Vec<String> {
        self.client.run(|| {
            let text = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("readable");
            let state = |line: &str| line.split_ascii_whitespace().nth(3).unwrap_or("").to_owned();
            text.lines().skip(1).map(state).collect()
        })
    }
}

/// Returns the saved SYN.
pub(crate) fn syn(arrival: &Arrival) -> &SynSummary {
    match &arrival.syn {
        SynRecord::Saved(syn) => syn,
        other => panic!("no SYN was saved: {other:?}"),
    }
}

/// Returns the cookie that arrived, as hex digits; empty for a request.
pub(crate) fn arrived_cookie(arrival: &Arrival) -> Option<String> {
    syn(arrival).fast_open.map(|option| option.cookie.to_string())
}
