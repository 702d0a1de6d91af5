//! What a server's host sees of the connections that its listener accepts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

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
    /// What the counters were, and when: the last time and some times before, oldest first.
    counted: VecDeque<(Instant, Counters)>,
    accepted: u32,
}

/// A SYN that is older has been accepted, or its client has given up.
const EARLIER: Duration = Duration::from_secs(3);

impl ServerObserver {
    /// To be made before the listener's first `accept`: changes of counters are told from here on.
    #[must_use]
    pub fn new(listener: &FastOpenListener) -> Self {
        let mut observer = Self {
            destination: listener.local_addr(),
            queue: listener.effective_queue().unwrap_or(0),
            host: None,
            counted: VecDeque::new(),
            accepted: 0,
        };
        observer.count();
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
            // An IPv4 client that came to an IPv6 listener is one of IPv4.
            source: SocketAddr::new(arrival.peer.ip().to_canonical(), arrival.peer.port()),
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
        let (first, last) = (self.counted.front().copied(), self.counted.back().copied());
        let now = self.count();
        evidence.counters =
            first.zip(last).zip(now).map(|(((_, first), (_, last)), now)| ServerCounters {
                connections: self.accepted,
                change: now.since(&last),
                earlier: last.since(&first),
            });
        self.accepted = 0;
        evidence
    }

    /// Reads the counters, and forgets what is older than it need be.
    fn count(&mut self) -> Option<Counters> {
        let (at, now) = (Instant::now(), Counters::read().ok()?);
        self.counted.push_back((at, now));
        while self.counted.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= EARLIER) {
            self.counted.pop_front();
        }
        // A busy server counts often: what lies between the ends is of no use.
        if self.counted.len() > 64 {
            self.counted = self.counted.iter().copied().step_by(2).chain([(at, now)]).collect();
        }
        Some(now)
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
