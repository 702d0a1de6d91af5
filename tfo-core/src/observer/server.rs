//! What a server's host sees of the connections that its listener accepts.

use std::net::SocketAddr;

use crate::connection::SavedSyn;
use crate::cookie::FastOpenCookie;
use crate::diagnosis::{
    ArrivedOption, ArrivedSyn, SavedSynEvidence, ServerCounters, ServerEvidence, ServerHost,
    TcpBits,
};
use crate::host::{Counters, sysctl};
use crate::socket::{Arrival, ArrivalSyn, FastOpenListener};

/// Watches the connections of one listener, so that each can be told what its server saw.
#[derive(Debug)]
pub struct ServerObserver {
    destination: SocketAddr,
    queue: u32,
    host: Option<ServerHost>,
    last: Option<Counters>,
    accepted: u32,
}

impl ServerObserver {
    /// To be made before the listener's first `accept`: changes of counters are told from here on.
    #[must_use]
    pub fn new(listener: &FastOpenListener) -> Self {
        let mut observer = Self {
            destination: listener.local_addr(),
            queue: listener.effective_queue().unwrap_or(0),
            host: None,
            last: Counters::read().ok(),
            accepted: 0,
        };
        observer.refresh();
        observer
    }

    /// Reads the host's settings again, which others may change at any time.
    pub fn refresh(&mut self) {
        self.host = self.read_host();
    }

    /// Counts an accepted connection.
    pub fn accepted(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }

    /// What the connection itself shows, with the host's settings as they were last read. Costs no
    /// system call.
    #[must_use]
    pub fn evidence(&self, arrival: &Arrival) -> ServerEvidence {
        let destination = match &arrival.syn {
            ArrivalSyn::Saved(syn) => syn.destination(),
            _ => self.destination,
        };
        ServerEvidence {
            source: arrival.peer,
            destination,
            syn: SavedSynEvidence::from(&arrival.syn),
            tcp: TcpBits::from(&arrival.info),
            host: self.host,
            counters: None,
        }
    }

    /// All that this host can say of the connection: reads the settings and the counters as well.
    ///
    /// The counters' change is told since the last such call, with the number of connections that were
    /// accepted meanwhile.
    #[must_use]
    pub fn full_evidence(&mut self, arrival: &Arrival) -> ServerEvidence {
        self.refresh();
        let mut evidence = self.evidence(arrival);
        let now = Counters::read().ok();
        evidence.counters = self.last.as_ref().zip(now.as_ref()).map(|(last, now)| {
            ServerCounters { connections: self.accepted, change: now.since(last) }
        });
        self.last = now;
        self.accepted = 0;
        evidence
    }

    fn read_host(&self) -> Option<ServerHost> {
        Some(ServerHost {
            tcp_fastopen: sysctl::tcp_fastopen().ok()?,
            queue: self.queue,
            syncookies: sysctl::syncookies().ok()?,
        })
    }
}

impl From<&ArrivalSyn> for SavedSynEvidence {
    fn from(syn: &ArrivalSyn) -> Self {
        match syn {
            ArrivalSyn::NotSaved => Self::NotSaved,
            ArrivalSyn::Empty => Self::Empty,
            ArrivalSyn::Saved(syn) => Self::Saved(ArrivedSyn::from(syn)),
        }
    }
}

impl From<&SavedSyn> for ArrivedSyn {
    fn from(syn: &SavedSyn) -> Self {
        Self {
            ttl: syn.ttl(),
            options: syn.options().map_while(|option| Some(option.ok()?.kind())).collect(),
            fast_open: syn.fast_open().map(|option| ArrivedOption {
                kind: option.kind,
                cookie: FastOpenCookie::new(option.cookie)
                    .map(|cookie| cookie.to_string())
                    .unwrap_or_default(),
            }),
            payload_bytes: syn.payload_len(),
            trailing_nops: syn.trailing_nops(),
        }
    }
}
