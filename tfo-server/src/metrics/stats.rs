//! The counters of a listener's connections.
//!
//! Each worker has its own counters for each listener, and is their only writer: adding is a load and a store, without
//! a locked instruction or a cache line shared between cores. Readers sum over the workers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::{Cause, Outcome};

use crate::arrival::{ArrivalVerdict, cookie_origin};
use crate::close_reason::CloseKind;
use crate::config::values::ServiceKind;

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Accepted,
    /// Accepted connections that have ended.
    Closed,
    /// Bytes received in SYNs.
    SynBytes,
    BytesIn,
    BytesOut,
    /// Pauses of accepting because `limits.connections` connections were open.
    PausedByLimit,
    /// Pauses of accepting because no descriptor was left.
    PausedByDescriptors,
    CutShort(CloseKind),
    Cookie(OriginLabel),
    Verdict(ArrivalVerdict),
}

/// The key that generated a received cookie: an origin without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OriginLabel {
    Primary,
    Backup,
    Next,
    Previous,
    OtherSource,
    Unknown,
}

/// A duration whose distribution is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// From the SYN-ACK to the client's ACK.
    Handshake,
    /// From accepting a connection to its end.
    Service,
}

/// Upper bounds of the histograms' buckets, in microseconds and as text in seconds.
pub(crate) const BUCKETS: [(u64, &str); 20] = [
    (25, "0.000025"),
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
    (30_000_000, "30.0"),
    (60_000_000, "60.0"),
];

// Layout of the counters: single ones first, then each group.
const CUTS: usize = 7;
const COOKIES: usize = CUTS + CloseKind::ALL.len();
const VERDICTS: usize = COOKIES + OriginLabel::ALL.len();
/// All causes, and no cause.
const CAUSES: usize = Cause::ALL.len() + 1;
const TIMINGS: usize = VERDICTS + 2 + Outcome::ALL.len() * CAUSES;
/// The buckets, the values above them, and the sum in microseconds.
const TIMING: usize = BUCKETS.len() + 2;
const ALL: usize = TIMINGS + 2 * TIMING;

impl Count {
    const fn index(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::Closed => 1,
            Self::SynBytes => 2,
            Self::BytesIn => 3,
            Self::BytesOut => 4,
            Self::PausedByLimit => 5,
            Self::PausedByDescriptors => 6,
            Self::CutShort(kind) => CUTS + kind as usize,
            Self::Cookie(origin) => COOKIES + origin as usize,
            Self::Verdict(ArrivalVerdict::NotLookedAt) => VERDICTS,
            Self::Verdict(ArrivalVerdict::Unknown) => VERDICTS + 1,
            Self::Verdict(ArrivalVerdict::Is(outcome, cause)) => {
                let cause = match cause {
                    None => 0,
                    Some(cause) => 1 + cause as usize,
                };
                VERDICTS + 2 + outcome as usize * CAUSES + cause
            }
        }
    }

    /// Returns every possible verdict.
    pub(crate) fn verdicts() -> impl Iterator<Item = ArrivalVerdict> {
        let causes = || std::iter::once(None).chain(Cause::ALL.iter().copied().map(Some));
        let known = Outcome::ALL
            .iter()
            .flat_map(move |outcome| causes().map(|cause| ArrivalVerdict::Is(*outcome, cause)));
        [ArrivalVerdict::NotLookedAt, ArrivalVerdict::Unknown].into_iter().chain(known)
    }
}

impl OriginLabel {
    pub(crate) const ALL: [Self; 6] =
        [Self::Primary, Self::Backup, Self::Next, Self::Previous, Self::OtherSource, Self::Unknown];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
            Self::Next => "next",
            Self::Previous => "previous",
            Self::OtherSource => "other-source",
            Self::Unknown => "unknown",
        }
    }
}

impl From<cookie_origin::OriginReading> for OriginLabel {
    fn from(origin: cookie_origin::OriginReading) -> Self {
        let cookie_origin::OriginReading::Of(origin) = origin else { return Self::Unknown };
        match origin {
            Origin::Primary => Self::Primary,
            Origin::Backup => Self::Backup,
            Origin::Next => Self::Next,
            Origin::Previous(_) => Self::Previous,
            Origin::OtherSource(_) => Self::OtherSource,
            _ => Self::Unknown,
        }
    }
}

/// The counters of one worker for one listener. One thread writes, any thread may read.
#[derive(Debug)]
// Adjacent values belong to other cores, and caches prefetch two lines at a time.
#[repr(align(128))]
pub(crate) struct ListenerStats([AtomicU64; ALL]);

impl Default for ListenerStats {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; ALL])
    }
}

impl ListenerStats {
    pub(crate) fn add(&self, count: Count, by: u64) {
        self.add_at(count.index(), by);
    }

    pub(crate) fn observe(&self, timing: Timing, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let start = TIMINGS + timing as usize * TIMING;
        self.add_at(start + BUCKETS.partition_point(|(end, _)| *end < micros), 1);
        self.add_at(start + TIMING - 1, micros);
    }

    fn add_at(&self, index: usize, by: u64) {
        // With a single writer, nothing can happen between the load and the store.
        if let Some(cell) = self.0.get(index) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        }
    }
}

/// The counters of a listener, summed over all workers.
#[derive(Debug, Clone)]
pub(crate) struct Totals([u64; ALL]);

impl Default for Totals {
    fn default() -> Self {
        Self([0; ALL])
    }
}

/// A distribution of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// Number of durations up to each bound of [`BUCKETS`].
    pub(crate) cumulative: [u64; BUCKETS.len()],
    pub(crate) count: u64,
    pub(crate) sum: Duration,
}

impl Totals {
    pub(crate) fn get(&self, count: Count) -> u64 {
        self.at(count.index())
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> u64 {
        self.get(Count::Accepted).saturating_sub(self.get(Count::Closed))
    }

    pub(crate) fn histogram(&self, timing: Timing) -> Histogram {
        let start = TIMINGS + timing as usize * TIMING;
        let mut count = 0;
        let cumulative = std::array::from_fn(|bucket| {
            count += self.at(start + bucket);
            count
        });
        count += self.at(start + BUCKETS.len());
        Histogram { cumulative, count, sum: Duration::from_micros(self.at(start + TIMING - 1)) }
    }

    fn at(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    fn add(&mut self, stats: &ListenerStats) {
        // In reverse order: a connection that is counted as closed is then also counted as accepted.
        for (sum, cell) in self.0.iter_mut().zip(&stats.0).rev() {
            *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
        }
    }
}

/// All counters of this process. Counters of a listener that was closed by a reload remain, since counters never
/// decrease.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<RegistryEntries>);

#[derive(Debug, Default)]
struct RegistryEntries {
    /// In order of registration.
    all: Vec<RegistryEntry>,
    /// Index in `all` of each listener.
    indexes: HashMap<(SocketAddr, ServiceKind), usize>,
}

#[derive(Debug)]
struct RegistryEntry {
    address: SocketAddr,
    service: ServiceKind,
    /// One per worker.
    stats: Vec<Arc<ListenerStats>>,
}

/// The counters of one listener.
#[derive(Debug, Clone)]
pub(crate) struct ListenerTotals {
    pub(crate) address: SocketAddr,
    pub(crate) service: ServiceKind,
    pub(crate) totals: Totals,
}

impl Registry {
    /// Returns the counters for each of `workers`; the existing ones if the listener is already registered.
    pub(crate) fn stats(
        &self,
        address: SocketAddr,
        service: ServiceKind,
        workers: usize,
    ) -> Vec<Arc<ListenerStats>> {
        let mut entries = self.lock();
        let RegistryEntries { all, indexes } = &mut *entries;
        let index = *indexes.entry((address, service)).or_insert(all.len());
        if index == all.len() {
            all.push(RegistryEntry { address, service, stats: Vec::new() });
        }
        let Some(entry) = all.get_mut(index) else { return Vec::new() };
        while entry.stats.len() < workers {
            entry.stats.push(Arc::default());
        }
        entry.stats.iter().take(workers).cloned().collect()
    }

    /// Returns the sum over all listeners.
    pub(crate) fn sum(&self) -> Totals {
        let mut sum = Totals::default();
        for stats in self.lock().all.iter().flat_map(|entry| &entry.stats) {
            sum.add(stats);
        }
        sum
    }

    /// Returns the counters of each listener.
    pub(crate) fn totals(&self) -> Vec<ListenerTotals> {
        self.lock()
            .all
            .iter()
            .map(|RegistryEntry { address, service, stats }| {
                let mut totals = Totals::default();
                for stats in stats {
                    totals.add(stats);
                }
                ListenerTotals { address: *address, service: *service, totals }
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, RegistryEntries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    fn every() -> Vec<Count> {
        let single = [
            Count::Accepted,
            Count::Closed,
            Count::SynBytes,
            Count::BytesIn,
            Count::BytesOut,
            Count::PausedByLimit,
            Count::PausedByDescriptors,
        ];
        let cuts = CloseKind::ALL.map(Count::CutShort);
        let cookies = OriginLabel::ALL.map(Count::Cookie);
        let verdicts = Count::verdicts().map(Count::Verdict);
        single.into_iter().chain(cuts).chain(cookies).chain(verdicts).collect()
    }

    #[test]
    fn each_counter_has_a_unique_index() {
        let indexes: HashSet<_> = every().iter().map(|count| count.index()).collect();
        assert_eq!(indexes.len(), every().len());
        assert_eq!(
            indexes.iter().max(),
            Some(&(TIMINGS - 1)),
            "no gaps, and no overlap with timings"
        );
        let names = |all: &[&str]| all.iter().collect::<HashSet<_>>().len();
        assert_eq!(names(&CloseKind::ALL.map(CloseKind::as_str)), CloseKind::ALL.len());
        assert_eq!(names(&OriginLabel::ALL.map(OriginLabel::as_str)), OriginLabel::ALL.len());
    }

    #[test]
    fn adding_to_a_counter_changes_only_that_counter() {
        for count in every() {
            let registry = Registry::default();
            let address = SocketAddr::from(([127, 0, 0, 1], 2222));
            for stats in registry.stats(address, ServiceKind::Echo, 2) {
                stats.add(count, 3);
            }
            let totals = &registry.totals()[0].totals;
            for other in every() {
                assert_eq!(totals.get(other), if other == count { 6 } else { 0 }, "{count:?}");
            }
        }
    }

    #[test]
    fn duration_counts_in_the_first_bucket_that_holds_it() {
        let stats = ListenerStats::default();
        for micros in [0, 25, 26, 60_000_000, 60_000_001] {
            stats.observe(Timing::Service, Duration::from_micros(micros));
        }
        stats.observe(Timing::Handshake, Duration::from_secs(1));
        let mut totals = Totals::default();
        totals.add(&stats);
        let service = totals.histogram(Timing::Service);
        assert_eq!(service.cumulative[..3], [2, 3, 3]);
        assert_eq!(service.cumulative[19], 4);
        assert_eq!(service.count, 5);
        assert_eq!(service.sum, Duration::from_micros(120_000_052));
        let handshake = totals.histogram(Timing::Handshake);
        assert_eq!((handshake.cumulative[13], handshake.cumulative[14]), (0, 1));
        for (micros, seconds) in BUCKETS {
            let text: f64 = seconds.parse().unwrap();
            let end = Duration::from_micros(micros).as_secs_f64();
            assert!((text - end).abs() < 1e-9, "{seconds}");
        }
        assert!(BUCKETS.is_sorted());
    }

    #[test]
    fn counters_are_kept_per_listener_and_service() {
        let registry = Registry::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 2222));
        let first = registry.stats(address, ServiceKind::Echo, 1);
        let again = registry.stats(address, ServiceKind::Echo, 3);
        assert!(Arc::ptr_eq(&first[0], &again[0]));
        registry.stats(address, ServiceKind::Mirror, 1)[0].add(Count::Accepted, 1);
        again[2].add(Count::Accepted, 5);
        again[2].add(Count::Closed, 2);
        let totals = registry.totals();
        let [echo, mirror] = totals.as_slice() else { panic!("{totals:?}") };
        assert_eq!((echo.service, echo.totals.open()), (ServiceKind::Echo, 3));
        assert_eq!((mirror.service, mirror.totals.open()), (ServiceKind::Mirror, 1));
    }

    #[test]
    fn concurrent_workers_lose_no_counts() {
        let registry = Registry::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 2222));
        let stats = registry.stats(address, ServiceKind::Echo, 2);
        thread::scope(|scope| {
            for stats in &stats {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        stats.add(Count::Accepted, 1);
                        stats.add(Count::Closed, 1);
                    }
                });
            }
        });
        let totals = registry.sum();
        assert_eq!((totals.get(Count::Accepted), totals.open()), (40_000, 0));
    }
}
