//! What a server's host sees of the connections that its listener accepts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::SavedSyn;
use crate::cookie::FastOpenCookie;
use crate::diagnosis::{
    ArrivedOption, ArrivedSyn, Outcome, SavedSynEvidence, ServerCounters, ServerEvidence,
    ServerHost, TcpBits, is_overwritten,
};
use crate::host::{Counters, FastOpenBits, sysctl};
use crate::socket::{Arrival, ArrivalSyn, FastOpenListener};

/// Watches the connections of one listener, so that each can be told what its server saw.
///
/// Clones, and observers [`beside`](Self::beside) it, share what they know of the host: its counters
/// are one for all listeners, so that a change can only be told of all their connections together.
#[derive(Debug, Clone)]
pub struct ServerObserver {
    destination: SocketAddr,
    queue: u32,
    host: Arc<Host>,
}

/// What the listeners of a process have in common.
#[derive(Debug, Default)]
struct Host {
    settings: Mutex<Option<Settings>>,
    /// What the counters were, and when: the last time and some times before, oldest first.
    counted: Mutex<VecDeque<(Instant, Counters)>>,
    /// Connections since then.
    accepted: AtomicU32,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    tcp_fastopen: FastOpenBits,
    syncookies: u32,
}

/// A SYN that is older has been accepted, or its client has given up.
const EARLIER: Duration = Duration::from_secs(3);

impl ServerObserver {
    /// To be made before the listener's first `accept`: changes of counters are told from here on.
    #[must_use]
    pub fn new(listener: &FastOpenListener) -> Self {
        let observer = Self::of(listener, Arc::default());
        Host::count(&mut observer.host.counted());
        observer.refresh();
        observer
    }

    /// An observer of another listener of this process.
    #[must_use]
    pub fn beside(&self, listener: &FastOpenListener) -> Self {
        Self::of(listener, Arc::clone(&self.host))
    }

    fn of(listener: &FastOpenListener, host: Arc<Host>) -> Self {
        let queue = listener.effective_queue().unwrap_or(0);
        Self { destination: listener.local_addr(), queue, host }
    }

    /// Reads the host's settings again, which others may change at any time.
    pub fn refresh(&self) {
        *lock(&self.host.settings) = Settings::read();
    }

    /// Counts an accepted connection.
    pub fn accepted(&self) {
        self.host.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// What the connection itself shows, with the host's settings as they were last read. Costs no
    /// system call.
    #[must_use]
    pub fn evidence(&self, arrival: &Arrival) -> ServerEvidence {
        self.assemble(arrival.peer, TcpBits::from(&arrival.info), &arrival.syn)
    }

    /// The same of a record.
    #[must_use]
    pub fn evidence_of(&self, record: &ArrivalRecord) -> ServerEvidence {
        let syn = match &record.syn {
            RecordedSyn::NotSaved => ArrivalSyn::NotSaved,
            RecordedSyn::Empty => ArrivalSyn::Empty,
            // It was parsed before.
            RecordedSyn::Saved(bytes) => {
                SavedSyn::parse(bytes).map_or(ArrivalSyn::NotSaved, ArrivalSyn::Saved)
            }
        };
        self.assemble(record.peer, record.tcp, &syn)
    }

    fn assemble(&self, peer: SocketAddr, tcp: TcpBits, syn: &ArrivalSyn) -> ServerEvidence {
        let destination = match syn {
            ArrivalSyn::Saved(syn) => syn.destination(),
            _ => self.destination,
        };
        ServerEvidence {
            // An IPv4 client that came to an IPv6 listener is one of IPv4.
            source: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            destination,
            syn: SavedSynEvidence::from(syn),
            tcp,
            host: lock(&self.host.settings).map(|settings| ServerHost {
                tcp_fastopen: settings.tcp_fastopen,
                queue: self.queue,
                syncookies: settings.syncookies,
            }),
            counters: None,
        }
    }

    /// All that this host can say of the connection: reads the settings and the counters as well.
    ///
    /// The counters' change is told since the last such call, with the number of connections that were
    /// accepted meanwhile.
    #[must_use]
    pub fn full_evidence(&self, arrival: &Arrival) -> ServerEvidence {
        self.refresh();
        self.with_counters(self.evidence(arrival))
    }

    /// The same of a record.
    #[must_use]
    pub fn full_evidence_of(&self, record: &ArrivalRecord) -> ServerEvidence {
        self.refresh();
        self.with_counters(self.evidence_of(record))
    }

    fn with_counters(&self, mut evidence: ServerEvidence) -> ServerEvidence {
        let mut counted = self.host.counted();
        let (first, last) = (counted.front().copied(), counted.back().copied());
        let now = Host::count(&mut counted);
        let connections = self.host.accepted.swap(0, Ordering::Relaxed);
        evidence.counters = first.zip(last).zip(now).map(|(((_, first), (_, last)), now)| {
            ServerCounters { connections, change: now.since(&last), earlier: last.since(&first) }
        });
        evidence
    }
}

impl Host {
    fn counted(&self) -> MutexGuard<'_, VecDeque<(Instant, Counters)>> {
        lock(&self.counted)
    }

    /// Reads the counters, and forgets what is older than it need be.
    fn count(counted: &mut VecDeque<(Instant, Counters)>) -> Option<Counters> {
        let (at, now) = (Instant::now(), Counters::read().ok()?);
        counted.push_back((at, now));
        while counted.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= EARLIER) {
            counted.pop_front();
        }
        // A busy server counts often: what lies between the ends is of no use.
        if counted.len() > 64 {
            *counted = counted.iter().copied().step_by(2).chain([(at, now)]).collect();
        }
        Some(now)
    }
}

impl Settings {
    fn read() -> Option<Self> {
        let tcp_fastopen = sysctl::tcp_fastopen().ok()?;
        Some(Self { tcp_fastopen, syncookies: sysctl::syncookies().ok()? })
    }
}

/// What is behind the lock is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An [`Arrival`] in few bytes, for who keeps it while the connection is open.
#[derive(Debug, Clone)]
pub struct ArrivalRecord {
    peer: SocketAddr,
    tcp: TcpBits,
    syn: RecordedSyn,
}

#[derive(Debug, Clone)]
enum RecordedSyn {
    NotSaved,
    Empty,
    Saved(Box<[u8]>),
}

impl From<&Arrival> for ArrivalRecord {
    fn from(arrival: &Arrival) -> Self {
        let syn = match &arrival.syn {
            ArrivalSyn::NotSaved => RecordedSyn::NotSaved,
            ArrivalSyn::Empty => RecordedSyn::Empty,
            ArrivalSyn::Saved(syn) => RecordedSyn::Saved(syn.as_bytes().into()),
        };
        Self { peer: arrival.peer, tcp: TcpBits::from(&arrival.info), syn }
    }
}

/// The outcome, where the arrival alone settles it: at no cost, and without the words of a
/// [`judge`](crate::diagnosis::judge), who says the same. `None`: judge the evidence.
#[must_use]
pub fn plain_outcome(arrival: &Arrival) -> Option<Outcome> {
    if arrival.info.syn_data {
        let repeated = arrival.info.total_retrans.unwrap_or(0) > 1;
        return (!repeated).then_some(Outcome::FastOpen);
    }
    let ArrivalSyn::Saved(syn) = &arrival.syn else { return None };
    let regular =
        syn.payload_len() == 0 && syn.fast_open().is_none() && !is_overwritten(syn.trailing_nops());
    regular.then_some(Outcome::NotAttempted)
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
