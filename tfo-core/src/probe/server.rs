//! What a server's host sees of the connections that its listener accepts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::diagnosis::{
    Cause, Outcome, ServerCounters, ServerEvidence, ServerHost, Side, classify,
};
use crate::host::sockets::{self, AcceptQueue};
use crate::host::{CounterChange, Counters, FastOpenFlags, sysctl, tcp_route};
use crate::socket::{Arrival, FastOpenListener, TcpState, option};

/// Watches the connections of one listener, and returns what the server saw of each.
///
/// Clones, and observers made by [`for_listener`](Self::for_listener), share what they know of the host: its counters
/// are one for all listeners, so that a change belongs to all their connections together.
///
/// ```no_run
/// use tfo_core::diagnosis::{Evidence, judge};
/// use tfo_core::probe::ServerObserver;
/// use tfo_core::socket::FastOpenListener;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = FastOpenListener::bind("0.0.0.0:2222")?;
/// let observer = ServerObserver::new(&listener);
/// for accepted in listener.incoming() {
///     let arrival = accepted?.arrival;
///     observer.accepted();
///     let evidence = observer.evidence_with_counters(&arrival);
///     println!("{}", judge(&Evidence::new(None, Some(evidence))));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServerObserver {
    destination: SocketAddr,
    queue: Arc<AtomicU32>,
    /// The listener's own `TCP_FASTOPEN_NO_COOKIE`.
    no_cookie: bool,
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
    /// Where this process listens.
    listeners: Mutex<Vec<SocketAddr>>,
    budget: Mutex<Budget>,
}

/// The settings as they were last read: `net.ipv4.tcp_fastopen` and `net.ipv4.tcp_syncookies` in the halves of one
/// number.
#[derive(Debug)]
struct SettingsCell(AtomicU64);

#[derive(Debug, Clone, Copy)]
struct Settings {
    tcp_fastopen: FastOpenFlags,
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

impl ServerObserver {
    /// Creates an observer. Create it before the listener's first `accept`: counters are compared from here on.
    #[must_use]
    pub fn new(listener: &FastOpenListener) -> Self {
        let observer = Self::sharing(listener, Arc::default());
        observer.refresh();
        Host::count(&mut observer.host.counted());
        observer
    }

    /// Creates an observer of another listener of this process.
    #[must_use]
    pub fn for_listener(&self, listener: &FastOpenListener) -> Self {
        Self::sharing(listener, Arc::clone(&self.host))
    }

    fn sharing(listener: &FastOpenListener, host: Arc<Host>) -> Self {
        let queue = listener.shared_queue();
        let destination = listener.local_addr();
        let mut listeners = lock(&host.listeners);
        if !listeners.contains(&destination) {
            listeners.push(destination);
        }
        drop(listeners);
        let no_cookie = option::fastopen_no_cookie(listener).unwrap_or(false);
        Self { destination, queue, no_cookie, host }
    }

    /// Reads the host's settings again, which others may change at any time, and looks whether a fast open queue
    /// was full. To be called about once a second.
    pub fn refresh(&self) {
        self.host.settings.set(Settings::read());
        let overflows = Counters::read().ok().map(|counters| counters.listen_overflow);
        let overflowed = lock(&self.host.queue).look(overflows, Instant::now());
        self.host.overflowed.store(overflowed, Ordering::Relaxed);
    }

    /// Classifies a connection that arrived ([`classify`]): without a lock, a system call or an allocation.
    ///
    /// A cookie request is settled by `TCPI_OPT_TFO_CHILD`, once a connection has shown that this kernel sets it, as
    /// long as [`refresh`](Self::refresh) finds no full queue.
    #[must_use]
    pub fn classify(&self, arrival: &Arrival) -> Option<(Outcome, Option<Cause>)> {
        self.note_child(arrival);
        classify(arrival.tcp, Side::server(&arrival.syn, self.server_host()))
    }

    fn note_child(&self, arrival: &Arrival) {
        if arrival.tcp.tfo_child && !self.host.sets_child_bit.load(Ordering::Relaxed) {
            self.host.sets_child_bit.store(true, Ordering::Relaxed);
        }
    }

    fn server_host(&self) -> Option<ServerHost> {
        let Settings { tcp_fastopen, syncookies } = self.host.settings.get()?;
        Some(ServerHost {
            tcp_fastopen,
            queue: self.queue.load(Ordering::Relaxed),
            syncookies,
            sets_child_bit: self.host.sets_child_bit.load(Ordering::Relaxed),
            overflowed: Some(self.host.overflowed.load(Ordering::Relaxed)),
            asks_for_cookies: None,
        })
    }

    /// Counts an accepted connection.
    pub fn accepted(&self) {
        self.host.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what the connection itself shows, with the host's settings as they were last read. Costs no
    /// system call.
    #[must_use]
    pub fn evidence(&self, arrival: &Arrival) -> ServerEvidence {
        self.note_child(arrival);
        let saved = arrival.syn.saved().and_then(|syn| syn.destination);
        ServerEvidence {
            // An IPv4 client that came to an IPv6 listener is one of IPv4.
            source: SocketAddr::new(arrival.peer.ip().to_canonical(), arrival.peer.port()),
            destination: saved.or(arrival.local).unwrap_or(self.destination),
            syn: arrival.syn,
            tcp: arrival.tcp,
            host: self.server_host(),
            counters: None,
            cookie_origin: None,
        }
    }

    /// Returns all evidence that this host has of the connection: the [`evidence`](Self::evidence) with
    /// [counters](Self::add_counters).
    #[must_use]
    pub fn evidence_with_counters(&self, arrival: &Arrival) -> ServerEvidence {
        let mut evidence = self.evidence(arrival);
        self.add_counters(&mut evidence);
        evidence
    }

    /// Like [`evidence_with_counters`](Self::evidence_with_counters), for a connection that did not ask for it: when many come
    /// in a short time, or another thread reads the counters at this moment, without them.
    #[must_use]
    pub fn evidence_within_budget(&self, arrival: &Arrival) -> ServerEvidence {
        let now = Instant::now();
        let may_read = self.host.budget.try_lock().is_ok_and(|mut budget| budget.take(now));
        if may_read { self.evidence_with_counters(arrival) } else { self.evidence(arrival) }
    }

    /// Reads the settings and the counters for this connection.
    ///
    /// The counters' change is that since the last such call, with the number of connections that were
    /// accepted meanwhile.
    pub fn add_counters(&self, evidence: &mut ServerEvidence) {
        self.host.settings.set(Settings::read());
        evidence.host = self.server_host();
        // Only of a request for a cookie it matters whether the server asks for them.
        let option = evidence.syn.saved().and_then(|syn| syn.fast_open);
        if let Some(host) = &mut evidence.host
            && option.is_some_and(|option| option.is_request())
            && let Ok(route) = tcp_route(evidence.source, None, None)
        {
            let without = self.no_cookie || route.without_cookie;
            host.asks_for_cookies = Some(!without && !host.tcp_fastopen.server_no_cookie());
        }
        let mut counted = self.host.counted();
        let (first, last) = (counted.front().copied(), counted.back().copied());
        let now = Host::count(&mut counted);
        let connections = self.host.accepted.swap(0, Ordering::Relaxed);
        // Looking for others takes longer: no other worker waits for that.
        drop(counted);
        let Some((((_, first), (_, last)), now)) = first.zip(last).zip(now) else { return };
        let (change, earlier) = (now.since(&last), last.since(&first));
        // Others matter only where a counter of incoming connections shows more than this one does itself. Looking for them
        // takes the kernel about a millisecond, and this client's answer waits for it.
        let CounterChange { passive, passive_fail, passive_alt_key, .. } = change;
        let CounterChange { cookie_reqd, listen_overflow, listen_drops, .. } = change;
        let child = evidence.tcp.tfo_child || evidence.tcp.syn_data;
        let look = passive > u64::from(child)
            || [passive_fail, passive_alt_key, cookie_reqd, listen_overflow, listen_drops]
                != [0; 5];
        let alone = look.then(|| connections == 1 && self.is_alone(evidence.source));
        let counters = ServerCounters { connections, alone, change, earlier };
        evidence.counters = Some(Box::new(counters));
    }

    /// Whether nobody but this client can have caused a change of the counters: no other handshake is unfinished, no other
    /// connection waits to be accepted or was accepted since the counters were read, and only this process listens for fast
    /// open.
    fn is_alone(&self, client: SocketAddr) -> bool {
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let unfinished = sockets::connections(&[TcpState::SynRecv]).is_ok_and(|unfinished| {
            // A child of fast open was counted when its SYN came, as one that was accepted.
            unfinished.iter().all(|one| {
                let child = one.info.as_ref().is_some_and(|info| info.tfo_child);
                child || canonical(one.remote) == canonical(client)
            })
        });
        if !unfinished {
            return false;
        }
        let Ok(queues) = sockets::accept_queues() else { return false };
        let own = lock(&self.host.listeners).clone();
        // What waits to be accepted was counted by the kernel already, and not by this program.
        let waits = |queue: &AcceptQueue| queue.waiting > 0 && own.contains(&queue.address);
        !queues.iter().any(waits)
            && self.host.accepted.load(Ordering::Relaxed) == 0
            // Reading the fast open queues from /proc takes milliseconds, by which the answer is late: only if others
            // listen.
            && (queues.iter().all(|queue| own.contains(&queue.address))
                || sockets::fast_open_listeners()
                    .is_ok_and(|listeners| listeners.iter().all(|one| own.contains(&one.address))))
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
            .then(|| Settings { tcp_fastopen: FastOpenFlags::new(half(32)), syncookies: half(0) })
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

/// Ignores poisoning: every critical section leaves the data consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
