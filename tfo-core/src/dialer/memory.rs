//! What is remembered of the paths to destinations: which ones fail fast open, and how long a round trip takes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::pause::{MAX_PAUSE, Pause, Permission, TrialOutcome, millis};

/// The number of destinations that are remembered.
const DESTINATIONS: usize = 1024;
/// After this many SYNs in a row whose data was not acknowledged, the path or the server is taken to ignore it.
const IGNORED: u32 = 3;
/// One of this many connections is looked at if nothing is suspicious.
const LOOK_AT: u32 = 16;
/// The default of the shortest pause.
const SHORTEST_PAUSE: Duration = Duration::from_secs(60);

/// A memory of the paths to destinations. Clones share it, between dialers, the connectors for tokio and hyper, and threads.
///
/// A destination whose SYNs of fast open were lost, reset or ignored gets regular ones for a while. After that pause one
/// connection tries again: if that fails too, the next pause is twice as long, at most an hour. Failures are forgotten
/// when the local address changes, as that of a laptop does. At most 1024 destinations are remembered.
///
/// ```
/// use tfo_core::dialer::{Dialer, PathMemory};
///
/// let memory = PathMemory::new();
/// let (one, other) = (Dialer::new().memory(&memory), Dialer::new().memory(&memory));
/// assert!(memory.entries().is_empty(), "nothing has failed so far");
/// # let _ = (one, other);
/// ```
#[derive(Debug, Clone)]
pub struct PathMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    destinations: Mutex<Destinations>,
    shortest_pause: Duration,
    started: Instant,
}

#[derive(Debug, Default)]
struct Destinations {
    all: HashMap<SocketAddr, Destination>,
    /// The number of look-ups, as a clock of its own.
    lookups: u64,
}

/// A destination of a [`PathMemory`], for programs that make the connection themselves.
///
/// ```no_run
/// use tfo_core::dialer::PathMemory;
/// use tfo_core::socket::{Connector, Method};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (memory, server) = (PathMemory::new(), "192.0.2.1:2222".parse()?);
/// let mut permit = memory.destination(server).permit();
/// let method = if permit.is_granted() { Method::Auto } else { Method::Off };
/// permit.sent(permit.is_granted());
/// match Connector::default().method(method).connect(server, b"hello\n") {
///     Ok(stream) if stream.info()?.syn_data => drop(permit.accepted()),
///     Ok(stream) => drop(permit.ignored(Some(stream.local_addr()?.ip()))),
///     Err(e) => drop(permit.lost(e.local.map(|local| local.ip()))),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Destination(Arc<State>);

#[derive(Debug)]
struct State {
    started: Instant,
    pause: Pause,
    /// SYNs in a row whose data was not acknowledged.
    ignored: AtomicU32,
    /// The smoothed round trip time in µs; 0: not measured.
    rtt_us: AtomicU32,
    /// The number of the last look-up.
    used: AtomicU64,
    /// Counts connections, to look at some of them.
    answered: AtomicU32,
    /// The local address of the connection that failed last.
    local: Mutex<Option<IpAddr>>,
}

/// A destination that gets regular SYNs, as [`PathMemory::entries`] returns it, for example to be saved to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RememberedPath {
    /// The destination.
    pub destination: SocketAddr,
    /// The local address from which the last connection failed, if it is known.
    pub local: Option<IpAddr>,
    /// When the pause ends, in seconds since 1970.
    pub until: u64,
    /// How often the pause was doubled.
    pub doublings: u32,
}

impl RememberedPath {
    /// Creates an entry, for [`PathMemory::restore`]: `until` is in seconds since 1970.
    #[must_use]
    pub const fn new(
        destination: SocketAddr,
        local: Option<IpAddr>,
        until: u64,
        doublings: u32,
    ) -> Self {
        Self { destination, local, until, doublings }
    }
}

impl Default for PathMemory {
    fn default() -> Self {
        Self::with_pause(SHORTEST_PAUSE)
    }
}

impl PathMemory {
    /// Creates an empty memory whose first pause is a minute.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty memory with another length of the first pause.
    #[must_use]
    pub fn with_pause(shortest: Duration) -> Self {
        Self(Arc::new(Shared {
            destinations: Mutex::default(),
            shortest_pause: shortest,
            started: Instant::now(),
        }))
    }

    /// Returns what is remembered of a destination. It stays valid after the memory has dropped the destination in
    /// favour of others.
    #[must_use]
    pub fn destination(&self, address: SocketAddr) -> Destination {
        let mut locked = self.lock();
        let Destinations { all, lookups } = &mut *locked;
        *lookups += 1;
        if let Some(known) = all.get(&address) {
            known.0.used.store(*lookups, Relaxed);
            return known.clone();
        }
        if all.len() >= DESTINATIONS {
            // Those without a failure first, then the one that was not used for longest.
            let least = all.iter().min_by_key(|(_, destination)| {
                (destination.is_paused(), destination.0.used.load(Relaxed))
            });
            if let Some(address) = least.map(|(address, _)| *address) {
                all.remove(&address);
            }
        }
        let destination = Destination(Arc::new(State {
            started: self.0.started,
            pause: Pause::new(self.0.shortest_pause),
            ignored: AtomicU32::new(0),
            rtt_us: AtomicU32::new(0),
            used: AtomicU64::new(*lookups),
            answered: AtomicU32::new(0),
            local: Mutex::default(),
        }));
        all.insert(address, destination.clone());
        destination
    }

    /// Returns the destinations that get regular SYNs, sorted by address.
    #[must_use]
    pub fn entries(&self) -> Vec<RememberedPath> {
        let (now, unix) = (millis(self.0.started.elapsed()), unix_seconds());
        let mut entries: Vec<_> = self
            .lock()
            .all
            .iter()
            .filter_map(|(address, destination)| {
                let (until, doublings) = destination.0.pause.paused()?;
                Some(RememberedPath {
                    destination: *address,
                    local: *lock(&destination.0.local),
                    until: unix.saturating_add(until.saturating_sub(now).div_ceil(1000)),
                    doublings,
                })
            })
            .collect();
        entries.sort_by_key(|entry| entry.destination);
        entries
    }

    /// Adds entries that [`entries`](Self::entries) returned before, perhaps in another process. Pauses that are over
    /// end with one trial. With the feature `serde`, entries are serializable:
    ///
    /// ```
    /// # #[cfg(feature = "serde")]
    /// # fn save(memory: &tfo_core::dialer::PathMemory) -> Result<(), Box<dyn std::error::Error>> {
    /// std::fs::write("paths.json", serde_json::to_vec(&memory.entries())?)?;
    /// memory.restore(serde_json::from_slice::<Vec<_>>(&std::fs::read("paths.json")?)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore(&self, entries: impl IntoIterator<Item = RememberedPath>) {
        let (now, unix) = (millis(self.0.started.elapsed()), unix_seconds());
        for entry in entries {
            let destination = self.destination(entry.destination);
            // The clock may have been set back since.
            let left = entry.until.saturating_sub(unix).min(MAX_PAUSE.as_secs());
            destination.0.pause.restore(now.saturating_add(left * 1000), entry.doublings);
            *lock(&destination.0.local) = entry.local;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Destinations> {
        lock(&self.0.destinations)
    }
}

impl Destination {
    /// Returns the permit of the next connection: whether its SYN may use fast open. Its outcome is reported to the
    /// permit.
    #[must_use]
    pub fn permit(&self) -> FastOpenPermit {
        let permission = self.0.pause.permit(|| self.now());
        FastOpenPermit { destination: self.clone(), permission, sent: false }
    }

    /// Returns a permit that allows no fast open, whatever is remembered.
    #[must_use]
    pub fn refuse(&self) -> FastOpenPermit {
        FastOpenPermit { destination: self.clone(), permission: Permission::No, sent: false }
    }

    /// Returns whether connections get regular SYNs because fast open failed.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.pause.paused().is_some()
    }

    /// Returns the smoothed round trip time of the connections so far.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let us = self.0.rtt_us.load(Relaxed);
        (us > 0).then(|| Duration::from_micros(us.into()))
    }

    /// Returns whether it is worth a system call to look at how this connection was answered: nothing is known yet, the last
    /// one was ignored, or none was looked at for a while.
    pub(super) fn is_due_for_a_look(&self) -> bool {
        let state = &*self.0;
        let count = state.answered.fetch_add(1, Relaxed);
        count.is_multiple_of(LOOK_AT)
            || self.round_trip().is_none()
            || state.ignored.load(Relaxed) > 0
    }

    /// Records the round trip time of a connection.
    pub fn set_round_trip(&self, time: Duration) {
        let us = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let smoothed = match self.0.rtt_us.load(Relaxed) {
            0 => us,
            old => old - old / 8 + us / 8,
        };
        self.0.rtt_us.store(smoothed.max(1), Relaxed);
    }

    /// Records the local address of a connection. If fast open failed from another one, forgets that.
    pub fn set_local(&self, local: IpAddr) {
        let known = *lock(&self.0.local);
        if known.is_some_and(|known| known != local) {
            *lock(&self.0.local) = None;
            self.0.ignored.store(0, Relaxed);
            self.0.pause.reset();
        }
    }

    fn now(&self) -> u64 {
        millis(self.0.started.elapsed())
    }
}

/// The permit of one connection: whether its SYN may use fast open. The outcome is reported to it.
///
/// Call exactly one of [`accepted`](Self::accepted), [`ignored`](Self::ignored) and [`lost`](Self::lost) once the outcome is
/// known. A permit that is dropped before leaves the memory as it is.
#[derive(Debug)]
pub struct FastOpenPermit {
    destination: Destination,
    permission: Permission,
    sent: bool,
}

impl FastOpenPermit {
    /// Returns whether the SYN may use fast open.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.permission != Permission::No
    }

    /// Returns whether this connection is the trial after a pause.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.permission == Permission::Trial
    }

    /// Records whether the SYN used fast open. If it did not, the trial is left to the next connection.
    pub fn sent(&mut self, used: bool) {
        self.sent = used;
        if !used && self.is_trial() {
            self.end(TrialOutcome::NotSent);
        }
    }

    /// Records that fast open worked: the SYN's data was acknowledged. Returns whether that ended a pause.
    pub fn accepted(&mut self) -> bool {
        let ignored = &self.destination.0.ignored;
        // Written only on changes, so that the cache line stays shared between threads.
        if ignored.load(Relaxed) != 0 {
            ignored.store(0, Relaxed);
        }
        self.end(TrialOutcome::Acknowledged)
    }

    /// Records that the SYN was answered, and its data was not acknowledged. Returns the length of the pause that starts,
    /// if that has happened a few times in a row.
    pub fn ignored(&mut self, local: Option<IpAddr>) -> Option<Duration> {
        let before = self.destination.0.ignored.fetch_add(1, Relaxed);
        if self.is_trial() || before.saturating_add(1) >= IGNORED { self.lost(local) } else { None }
    }

    /// Records that the SYN was lost, reset or left without an answer, and that the local address was this one. Returns
    /// the length of the pause, if this connection starts one.
    pub fn lost(&mut self, local: Option<IpAddr>) -> Option<Duration> {
        let permission = std::mem::replace(&mut self.permission, Permission::No);
        let state = &self.destination.0;
        let pause = state.pause.failed(self.destination.now(), permission)?;
        state.ignored.store(0, Relaxed);
        *lock(&state.local) = local;
        Some(pause)
    }

    fn end(&mut self, outcome: TrialOutcome) -> bool {
        let trial = std::mem::replace(&mut self.permission, Permission::No) == Permission::Trial;
        if trial {
            self.destination.0.pause.trial_ended(self.destination.now(), outcome);
        }
        trial
    }
}

impl Drop for FastOpenPermit {
    fn drop(&mut self) {
        // A connection that ended before its handshake has no outcome.
        self.end(if self.sent { TrialOutcome::Unknown } else { TrialOutcome::NotSent });
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Ignores poisoning: every critical section leaves the data consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

    fn address(number: usize) -> SocketAddr {
        let [.., high, low] = number.to_be_bytes();
        SocketAddr::from(([10, 0, high, low], 443))
    }

    /// A connection whose SYN used fast open, if that was granted as expected.
    fn sent(destination: &Destination, granted: bool) -> FastOpenPermit {
        let mut permit = destination.permit();
        assert_eq!(permit.is_granted(), granted);
        permit.sent(granted);
        permit
    }

    #[test]
    fn one_loss_pauses_one_destination() {
        let memory = PathMemory::new();
        let (lossy, other) = (memory.destination(address(1)), memory.destination(address(2)));
        let during = sent(&lossy, true);
        assert_eq!(sent(&lossy, true).lost(HOME), Some(SHORTEST_PAUSE));
        let _regular = sent(&memory.clone().destination(address(1)), false);
        let _other = sent(&other, true);
        drop(during);
        assert!(lossy.is_paused() && !other.is_paused());
        let entries = memory.entries();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].destination, entries[0].local), (address(1), HOME));
    }

    #[test]
    fn dropped_trial_allows_the_next_one() {
        let memory = PathMemory::with_pause(Duration::ZERO);
        let path = memory.destination(address(1));
        let _ = sent(&path, true).lost(HOME);
        let mut trial = path.permit();
        assert!(trial.is_trial());
        let _during = sent(&path, false);
        drop(trial);
        trial = sent(&path, true);
        assert!(trial.is_trial());
        assert!(trial.accepted() && !path.is_paused());
        assert!(!sent(&path, true).accepted(), "there was no pause to end");
    }

    #[test]
    fn only_data_ignored_in_a_row_pauses() {
        let path = PathMemory::new().destination(address(1));
        for _ in 0..3 {
            assert_eq!(sent(&path, true).ignored(HOME), None);
            assert_eq!(sent(&path, true).ignored(HOME), None);
            sent(&path, true).accepted();
        }
        let pauses = [(); 3].map(|()| sent(&path, true).ignored(HOME));
        assert_eq!(pauses, [None, None, Some(SHORTEST_PAUSE)]);
    }

    #[test]
    fn another_local_address_forgets_the_failure() {
        let memory = PathMemory::new();
        let path = memory.destination(address(1));
        let _ = sent(&path, true).lost(HOME);
        path.set_local(HOME.unwrap());
        assert!(path.is_paused());
        path.set_local("192.0.2.8".parse().unwrap());
        let _permit = sent(&path, true);
        // A memory that does not know the address keeps the failure.
        let _ = sent(&path, true).lost(None);
        path.set_local(HOME.unwrap());
        assert!(path.is_paused());
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_failures() {
        let memory = PathMemory::new();
        for number in 0..10 {
            let _ = sent(&memory.destination(address(number)), true).lost(HOME);
        }
        for number in 10..1500 {
            let _ = memory.destination(address(number));
            assert!(memory.lock().all.len() <= DESTINATIONS);
        }
        assert_eq!(memory.entries().len(), 10, "those without a failure go first");
        for number in 1500..2600 {
            let _ = sent(&memory.destination(address(number)), true).lost(HOME);
        }
        assert_eq!((memory.entries().len(), memory.lock().all.len()), (DESTINATIONS, DESTINATIONS));
    }

    #[test]
    fn entries_survive_being_saved() {
        let memory = PathMemory::new();
        for number in [2, 1] {
            let _ = sent(&memory.destination(address(number)), true).lost(HOME);
        }
        let mut entries = memory.entries();
        assert_eq!([entries[0].destination, entries[1].destination], [address(1), address(2)]);
        // Long after the pause was over, and from a clock that was far in the future.
        let path = &entries[0];
        entries[0] = RememberedPath::new(path.destination, path.local, 0, path.doublings);
        entries[1].until = u64::MAX;
        let restored = PathMemory::new();
        restored.restore(entries);
        assert!(restored.destination(address(1)).permit().is_trial(), "its pause is over");
        let path = restored.destination(address(2));
        assert!(!path.permit().is_granted());
        let left = restored.entries()[1].until.saturating_sub(unix_seconds());
        assert!(left <= MAX_PAUSE.as_secs() + 1, "{left} s");
        path.set_local("192.0.2.8".parse().unwrap());
        assert!(!path.is_paused(), "the local address was saved as well");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn entries_are_saved_as_text() {
        let memory = PathMemory::new();
        let _ = sent(&memory.destination(address(1)), true).lost(HOME);
        let entries = memory.entries();
        let text = serde_json::to_string(&entries).unwrap();
        let start = "[{\"destination\":\"10.0.0.1:443\",\"local\":\"192.0.2.7\",\"until\":";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(serde_json::from_str::<Vec<RememberedPath>>(&text).unwrap(), entries);
    }

    #[test]
    fn round_trip_is_smoothed() {
        let path = PathMemory::new().destination(address(1));
        assert_eq!(path.round_trip(), None);
        path.set_round_trip(Duration::from_millis(80));
        path.set_round_trip(Duration::from_millis(160));
        assert_eq!(path.round_trip(), Some(Duration::from_millis(90)));
        path.set_round_trip(Duration::MAX);
        path.set_round_trip(Duration::ZERO);
        assert!(path.round_trip().is_some());
    }
}
