//! What a server's host sees of the connections that its listener accepts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cookie::FastOpenCookie;
use crate::diagnosis::{
    ArrivedOption, ArrivedSyn, Outcome, SavedSynEvidence, ServerCounters, ServerEvidence,
    ServerHost, TcpBits, is_overwritten,
};
use crate::host::{Counters, FastOpenBits, sysctl};
use crate::socket::SavedSyn;
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

/// What the listeners of a process have in common. What each connection asks for takes no lock.
#[derive(Debug, Default)]
struct Host {
    settings: SettingsCell,
    /// What the counters were, and when: the last time and some times before, oldest first.
    counted: Mutex<VecDeque<(Instant, Counters)>>,
    /// Connections since then.
    accepted: AtomicU32,
    /// A connection has had `TCPI_OPT_TFO_CHILD`: this kernel sets it.
    sets_child_bit: AtomicBool,
    /// What [`ServerObserver::refresh`] looked at.
    queue: Mutex<QueueWatch>,
    /// A fast open queue of this namespace was full not long ago.
    overflowed: AtomicBool,
    budget: Mutex<Budget>,
}

/// The settings as they were last read: `net.ipv4.tcp_fastopen` and `net.ipv4.tcp_syncookies` in the halves of one
/// number.
#[derive(Debug)]
struct SettingsCell(AtomicU64);

#[derive(Debug, Clone, Copy)]
struct Settings {
    tcp_fastopen: FastOpenBits,
    syncookies: u32,
}

/// When a fast open queue was full, as far as the counters tell.
#[derive(Debug, Default)]
struct QueueWatch {
    overflows: Option<u64>,
    last: Option<Instant>,
}

/// How many connections may have their counters read: each time costs as much as serving several connections.
#[derive(Debug, Default)]
struct Budget {
    left: u32,
    second: Option<Instant>,
}

/// A SYN that is older has been accepted, or its client has given up.
const EARLIER: Duration = Duration::from_secs(3);
/// Reads of the counters for one connection in a second.
const READS: u32 = 200;

/// What the arrival alone tells of a connection's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arrived {
    /// What a [`judge`](crate::diagnosis::judge) of its evidence says too.
    Settled(Outcome),
    /// Nothing: its SYN was not saved, and so was not seen.
    NotSeen,
    /// Not enough: judge the evidence.
    Open,
}

impl ServerObserver {
    /// To be made before the listener's first `accept`: changes of counters are told from here on.
    #[must_use]
    pub fn new(listener: &FastOpenListener) -> Self {
        let observer = Self::of(listener, Arc::default());
        observer.refresh();
        Host::count(&mut observer.host.counted());
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

    /// Reads the host's settings again, which others may change at any time, and looks whether a fast open queue
    /// was full. To be called about once a second.
    pub fn refresh(&self) {
        self.host.settings.set(Settings::read());
        let overflows = Counters::read().ok().map(|counters| counters.listen_overflow);
        let overflowed = lock(&self.host.queue).look(overflows, Instant::now());
        self.host.overflowed.store(overflowed, Ordering::Relaxed);
    }

    /// The outcome, where the arrival alone settles it: without a lock and a system call.
    ///
    /// A cookie request is settled by `TCPI_OPT_TFO_CHILD`, once a connection has shown that this kernel sets it: a
    /// server without cookies would have made a child of it. Then nothing but a full queue withholds the cookie,
    /// for which [`refresh`](Self::refresh) looks.
    #[must_use]
    pub fn outcome(&self, arrival: &Arrival) -> Arrived {
        let info = &arrival.info;
        if info.tfo_child && !self.host.sets_child_bit.load(Ordering::Relaxed) {
            self.host.sets_child_bit.store(true, Ordering::Relaxed);
        }
        if info.syn_data {
            let repeated = info.total_retrans.unwrap_or(0) > 1;
            return if repeated { Arrived::Open } else { Arrived::Settled(Outcome::FastOpen) };
        }
        let syn = match &arrival.syn {
            ArrivalSyn::Saved(syn) => syn,
            ArrivalSyn::NotSaved if !info.tfo_child => return Arrived::NotSeen,
            _ => return Arrived::Open,
        };
        match syn.fast_open() {
            _ if syn.payload_len() > 0 => Arrived::Open,
            None if is_overwritten(syn.trailing_nops()) => Arrived::Open,
            None => Arrived::Settled(Outcome::NotAttempted),
            Some(option) if option.is_request() && !info.tfo_child && self.grants() => {
                Arrived::Settled(Outcome::CookieGranted)
            }
            Some(_) => Arrived::Open,
        }
    }

    /// Whether a cookie request that made no child is known to have got its cookie.
    fn grants(&self) -> bool {
        let host = self.server_host();
        host.is_some_and(|host| {
            host.tcp_fastopen.server()
                && host.queue > 0
                && host.sets_child_bit
                && host.overflowed == Some(false)
        })
    }

    fn server_host(&self) -> Option<ServerHost> {
        let Settings { tcp_fastopen, syncookies } = self.host.settings.get()?;
        Some(ServerHost {
            tcp_fastopen,
            queue: self.queue,
            syncookies,
            sets_child_bit: self.host.sets_child_bit.load(Ordering::Relaxed),
            overflowed: Some(self.host.overflowed.load(Ordering::Relaxed)),
        })
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
            host: self.server_host(),
            counters: None,
        }
    }

    /// All that this host can say of the connection: reads the settings and the counters as well.
    ///
    /// The counters' change is told since the last such call, with the number of connections that were
    /// accepted meanwhile.
    #[must_use]
    pub fn full_evidence(&self, arrival: &Arrival) -> ServerEvidence {
        self.host.settings.set(Settings::read());
        self.with_counters(self.evidence(arrival))
    }

    /// [`full_evidence`](Self::full_evidence) for a connection that did not ask for it: when many come in a short time,
    /// or another thread reads the counters at this moment, the [`evidence`](Self::evidence) without them.
    #[must_use]
    pub fn evidence_within_budget(&self, arrival: &Arrival) -> ServerEvidence {
        let now = Instant::now();
        let may_read = self.host.budget.try_lock().is_ok_and(|mut budget| budget.take(now));
        if may_read { self.full_evidence(arrival) } else { self.evidence(arrival) }
    }

    /// The same of a record.
    #[must_use]
    pub fn full_evidence_of(&self, record: &ArrivalRecord) -> ServerEvidence {
        self.host.settings.set(Settings::read());
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

impl Default for SettingsCell {
    fn default() -> Self {
        Self(AtomicU64::new(Self::UNKNOWN))
    }
}

impl SettingsCell {
    /// No kernel has a `tcp_syncookies` like that.
    const UNKNOWN: u64 = u64::MAX;

    fn set(&self, settings: Option<Settings>) {
        let number = settings.map_or(Self::UNKNOWN, |settings| {
            u64::from(settings.tcp_fastopen.bits()) << 32 | u64::from(settings.syncookies)
        });
        self.0.store(number, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Settings> {
        let number = self.0.load(Ordering::Relaxed);
        let half = |shift: u32| u32::try_from(number >> shift & u64::from(u32::MAX)).unwrap_or(0);
        (number != Self::UNKNOWN)
            .then(|| Settings { tcp_fastopen: FastOpenBits::new(half(32)), syncookies: half(0) })
    }
}

impl QueueWatch {
    /// Notes the counter's value now. Returns whether it rose not long ago, or is not known not to have.
    fn look(&mut self, overflows: Option<u64>, now: Instant) -> bool {
        match (self.overflows, overflows) {
            (Some(before), Some(after)) if before == after => {}
            // The first look: what was before is of no connection that this observer sees.
            (None, Some(_)) if self.last.is_none() => {}
            _ => self.last = Some(now),
        }
        self.overflows = overflows;
        self.last.is_some_and(|last| now.saturating_duration_since(last) < EARLIER)
    }
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let is_new = |second: &Instant| now.saturating_duration_since(*second).as_secs() > 0;
        if self.second.as_ref().is_none_or(is_new) {
            *self = Self { left: READS, second: Some(now) };
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
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
