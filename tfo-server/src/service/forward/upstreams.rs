//! The upstreams of a listener: which are up, and which one the next connection uses. Shared by all workers; nothing
//! here blocks.
//!
//! Choosing an upstream only reads. Workers may compete for one write: the claim of an upstream that is down and due
//! for a retry. It is made only for the upstream that is then used.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tfo_core::dialer::{Destination, FastOpenPermit, PathMemory};
use tfo_core::socket::{ClientFail, TcpInfo};

use crate::config::file::Forward as ForwardSettings;
use crate::config::values::Balance;

/// An upstream is down after this many consecutive failures of connections or checks.
const FAILURES_UNTIL_DOWN: u32 = 2;
/// Without health checks, how long an upstream that is down is skipped before a connection retries it.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// All upstreams of a listener.
#[derive(Debug)]
pub(crate) struct Upstreams {
    all: Box<[Upstream]>,
    balance: Balance,
    /// Health checks find out when upstreams are up again.
    checked: bool,
    turn: AtomicUsize,
    started: Instant,
}

/// Aligned to a cache line, because workers write to it.
#[derive(Debug)]
#[repr(align(64))]
struct Upstream {
    address: SocketAddr,
    open: AtomicUsize,
    /// Number of consecutive failures.
    failures: AtomicU32,
    down: AtomicBool,
    /// If the upstream is down: when a connection may retry it, in milliseconds since `started`.
    try_at: AtomicU64,
    /// Whether its SYNs may carry data.
    path: Destination,
    chosen: AtomicU64,
    failed: AtomicU64,
}

/// The state of an upstream, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpstreamState {
    pub(crate) address: SocketAddr,
    pub(crate) up: bool,
    /// Number of open connections.
    pub(crate) open: usize,
    /// Number of connections for which the upstream was chosen.
    pub(crate) chosen: u64,
    /// Number of failed attempts to connect, by connections and checks.
    pub(crate) failed: u64,
}

/// One connection's use of an upstream.
#[derive(Debug)]
pub(crate) struct UpstreamGuard {
    upstreams: Arc<Upstreams>,
    index: usize,
    address: SocketAddr,
    /// Determines the next upstream after a failure, evenly among the remaining ones.
    turn: usize,
    /// The upstreams that failed before this one. Usually empty.
    tried: Box<[usize]>,
    /// The SYN must not carry data.
    regular: bool,
    /// The answer to the question whether the SYN may carry data, once it was asked.
    permit: Option<FastOpenPermit>,
}

impl Upstreams {
    pub(super) fn new(settings: &ForwardSettings) -> Self {
        let memory = PathMemory::with_pause(settings.syn_data_pause.get());
        let upstream = |address: &SocketAddr| Upstream {
            address: *address,
            open: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            down: AtomicBool::new(false),
            try_at: AtomicU64::new(0),
            path: memory.destination(*address),
            chosen: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        Self {
            all: settings.upstreams.get().iter().map(upstream).collect(),
            balance: settings.balance,
            checked: settings.health_interval.nonzero().is_some(),
            turn: AtomicUsize::new(0),
            started: Instant::now(),
        }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(|upstream| upstream.address)
    }

    pub(super) fn states(&self) -> impl Iterator<Item = UpstreamState> {
        self.all.iter().map(|upstream| UpstreamState {
            address: upstream.address,
            up: upstream.is_up(),
            open: upstream.open(),
            chosen: upstream.chosen.load(Relaxed),
            failed: upstream.failed.load(Relaxed),
        })
    }

    /// Returns whether a connection would get an upstream. Without health checks, an upstream that is due for a retry
    /// counts: without a connection it would stay down.
    pub(super) fn has_usable(&self) -> bool {
        let mut all = self.all.iter().enumerate();
        all.any(|(index, upstream)| upstream.is_up() || self.is_due(index, self.now()))
    }

    /// Returns the upstream for the next connection, or `None` if all are down.
    pub(super) fn choose(self: &Arc<Self>) -> Option<UpstreamGuard> {
        if let Some(index) = self.claim_retry() {
            let regular = true;
            return self.guard(index, self.turn.load(Relaxed), Box::default(), regular);
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        let (index, turn) = match self.balance {
            Balance::RoundRobin => self.in_turn(turn, |_, _| true),
            Balance::LeastConnections => {
                let fewest = self.up().map(|(_, upstream)| upstream.open()).min()?;
                self.in_turn(turn, |_, upstream| upstream.open() <= fewest)
                    .or_else(|| self.in_turn(turn, |_, _| true))
            }
        }?;
        self.guard(index, turn, Box::default(), false)
    }

    fn up(&self) -> impl Iterator<Item = (usize, &Upstream)> {
        self.all.iter().enumerate().filter(|(_, upstream)| upstream.is_up())
    }

    /// Returns the upstream whose turn it is among those that are up and pass the filter, which get equal shares. Also
    /// returns the turn for the next choice, which is the same for all upstreams of a round.
    fn in_turn(
        &self,
        turn: usize,
        filter: impl Fn(usize, &Upstream) -> bool,
    ) -> Option<(usize, usize)> {
        let eligible = || self.up().filter(|(index, upstream)| filter(*index, upstream));
        let count = eligible().count().max(1);
        // Other workers may have changed the eligible upstreams since they were counted.
        let (index, _) = eligible().nth(turn % count).or_else(|| eligible().next())?;
        Some((index, turn / count))
    }

    /// Claims an upstream that is down and due for a retry, for one connection per retry. Retries take precedence over
    /// upstreams that are up: with least-connections the upstream might never be chosen otherwise.
    fn claim_retry(&self) -> Option<usize> {
        if self.checked || self.all.iter().all(Upstream::is_up) {
            return None;
        }
        let now = self.now();
        (0..self.all.len()).find(|&index| self.is_due(index, now) && self.claim(index, now))
    }

    fn is_due(&self, index: usize, now: u64) -> bool {
        let due = |upstream: &Upstream| !upstream.is_up() && now >= upstream.try_at.load(Relaxed);
        !self.checked && self.all.get(index).is_some_and(due)
    }

    fn claim(&self, index: usize, now: u64) -> bool {
        let Some(upstream) = self.all.get(index) else { return false };
        let at = upstream.try_at.load(Relaxed);
        let next = now + millis(RETRY_INTERVAL);
        now >= at && upstream.try_at.compare_exchange(at, next, Relaxed, Relaxed).is_ok()
    }

    fn guard(
        self: &Arc<Self>,
        index: usize,
        turn: usize,
        tried: Box<[usize]>,
        regular: bool,
    ) -> Option<UpstreamGuard> {
        let upstream = self.all.get(index)?;
        upstream.open.fetch_add(1, Relaxed);
        upstream.chosen.fetch_add(1, Relaxed);
        Some(UpstreamGuard {
            upstreams: Arc::clone(self),
            index,
            address: upstream.address,
            turn,
            tried,
            regular,
            permit: None,
        })
    }

    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }

    /// Records a failed regular connection or check.
    pub(super) fn failed(&self, index: usize, why: &dyn Display) {
        let Some(upstream) = self.all.get(index) else { return };
        upstream.failed.fetch_add(1, Relaxed);
        let failures = upstream.failures.fetch_add(1, Relaxed).saturating_add(1);
        upstream.try_at.store(self.now() + millis(RETRY_INTERVAL), Relaxed);
        if failures < FAILURES_UNTIL_DOWN || upstream.down.swap(true, Relaxed) {
            return;
        }
        log::warn!("upstream {} is down: {why}", upstream.address);
        if !self.all.iter().any(Upstream::is_up) {
            log::error!("no upstream is up: clients are closed until one is");
        }
    }

    /// Records a connection or check that succeeded.
    pub(super) fn succeeded(&self, index: usize) {
        let Some(upstream) = self.all.get(index) else { return };
        // Written only on changes, so that the cache line stays shared between workers.
        if upstream.failures.load(Relaxed) != 0 {
            upstream.failures.store(0, Relaxed);
        }
        if upstream.down.load(Relaxed) && upstream.down.swap(false, Relaxed) {
            log::info!("upstream {} is up again", upstream.address);
        }
    }
}

impl Upstream {
    fn is_up(&self) -> bool {
        !self.down.load(Relaxed)
    }

    fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

impl UpstreamGuard {
    /// Returns the next upstream that was not tried yet.
    pub(crate) fn next(self) -> Option<Self> {
        let tried = [&self.tried[..], &[self.index]].concat();
        let (index, turn) =
            self.upstreams.in_turn(self.turn, |index, _| !tried.contains(&index))?;
        self.upstreams.guard(index, turn, tried.into(), false)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns whether the SYN may carry data.
    pub(super) fn permits_syn_data(&mut self) -> bool {
        if self.permit.is_none() && !self.regular {
            self.permit = self.upstream().map(|upstream| upstream.path.permit());
        }
        self.permit.as_ref().is_some_and(FastOpenPermit::is_granted)
    }

    /// Records whether the SYN carried data.
    pub(super) fn syn_left(&mut self, with_data: bool) {
        if let Some(permit) = &mut self.permit {
            permit.sent(with_data);
        }
    }

    /// Returns whether the connection is the trial after a pause: the outcome of its handshake must be reported with
    /// [`syn_data_answered`](Self::syn_data_answered).
    pub(crate) fn is_trial(&self) -> bool {
        self.permit.as_ref().is_some_and(FastOpenPermit::is_trial)
    }

    /// Records a failed connection. If its SYN carried data, the cause may be the upstream or the path, which the next
    /// regular connection or check decides. A retry of this connection is regular.
    pub(crate) fn failed(&mut self, why: &dyn Display, syn_data: bool) {
        self.regular = true;
        if !syn_data {
            return self.upstreams.failed(self.index, why);
        }
        if let Some(upstream) = self.upstream() {
            upstream.failed.fetch_add(1, Relaxed);
        }
        self.pause_syn_data(&format_args!("a SYN with data failed ({why})"));
    }

    pub(crate) fn succeeded(&self) {
        self.upstreams.succeeded(self.index);
    }

    /// Records the kernel's view of a handshake whose SYN carried data.
    pub(crate) fn syn_data_answered(&mut self, info: &TcpInfo) {
        if info.client_fail == ClientFail::SynRetransmitted {
            self.pause_syn_data(&"a SYN with data was not answered, but one without data was");
        } else if let Some(mut permit) = self.permit.take()
            && info.syn_data
            && permit.accepted()
        {
            log::info!("upstream {} accepts data in SYNs again", self.address);
        }
    }

    fn pause_syn_data(&mut self, why: &dyn Display) {
        if let Some(pause) = self.permit.take().and_then(|mut permit| permit.lost(None)) {
            log::warn!("upstream {}: {why}; sending no data in SYNs for {pause:?}", self.address);
        }
    }

    fn upstream(&self) -> Option<&Upstream> {
        self.upstreams.all.get(self.index)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for UpstreamGuard {
    fn drop(&mut self) {
        if let Some(upstream) = self.upstream() {
            upstream.open.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(count: u16, balance: Balance, checked: bool) -> Arc<Upstreams> {
        let addresses: Vec<_> = (0..count).map(|n| format!("127.0.0.1:{}", 8000 + n)).collect();
        let interval = if checked { "1s" } else { "0ms" };
        let text = format!(
            "upstreams = {addresses:?}\nbalance = \"{balance}\"\nhealth-interval = \"{interval}\""
        );
        Arc::new(Upstreams::new(&toml::from_str(&text).unwrap()))
    }

    fn chosen(set: &Arc<Upstreams>) -> Option<usize> {
        set.choose().map(|guard| guard.index)
    }

    fn turns(set: &Arc<Upstreams>, count: usize) -> Vec<Option<usize>> {
        (0..count).map(|_| chosen(set)).collect()
    }

    #[test]
    fn round_robin_skips_upstreams_that_are_down() {
        let set = set(3, Balance::RoundRobin, true);
        assert_eq!(turns(&set, 4), [0, 1, 2, 0].map(Some));
        set.failed(1, &"refused");
        assert!(turns(&set, 3).contains(&Some(1)), "one failure is not enough");
        set.failed(1, &"refused");
        assert!(!turns(&set, 6).contains(&Some(1)));
        set.succeeded(1);
        assert_eq!(turns(&set, 6).iter().filter(|index| **index == Some(1)).count(), 2);
    }

    #[test]
    fn only_consecutive_failures_count() {
        let set = set(1, Balance::RoundRobin, true);
        for _ in 0..5 {
            set.failed(0, &"refused");
            set.succeeded(0);
        }
        assert_eq!(chosen(&set), Some(0));
        set.failed(0, &"refused");
        set.failed(0, &"refused");
        assert_eq!(chosen(&set), None, "all are down");
    }

    #[test]
    fn least_connections_chooses_the_upstream_with_the_fewest() {
        let set = set(3, Balance::LeastConnections, true);
        let mut guards: Vec<_> = (0..6).map(|_| set.choose().unwrap()).collect();
        assert!(set.all.iter().all(|upstream| upstream.open() == 2), "evenly distributed");
        guards.retain(|guard| guard.index != 2);
        guards.push(set.choose().unwrap());
        guards.push(set.choose().unwrap());
        assert!(set.all.iter().all(|upstream| upstream.open() == 2), "{guards:?}");
        drop(guards);
        assert!(set.all.iter().all(|upstream| upstream.open() == 0), "all are given back");
    }

    #[test]
    fn after_a_failure_each_other_upstream_is_tried_once() {
        let set = set(4, Balance::RoundRobin, true);
        set.failed(2, &"refused");
        set.failed(2, &"refused");
        for _ in 0..12 {
            let first = set.choose().unwrap();
            let mut tried = vec![first.index];
            let second = first.next().unwrap();
            tried.push(second.index);
            let third = second.next().unwrap();
            tried.push(third.index);
            assert!(third.next().is_none(), "no upstream is tried twice");
            tried.sort_unstable();
            assert_eq!(tried, [0, 1, 3], "2 is down");
        }
        assert!(set.all.iter().all(|upstream| upstream.open() == 0));
    }

    /// Returns how many connections each upstream received.
    fn shares(
        set: &Arc<Upstreams>,
        connections: usize,
        used: impl Fn(UpstreamGuard) -> UpstreamGuard,
    ) -> Vec<usize> {
        let mut shares = vec![0; set.all.len()];
        for _ in 0..connections {
            shares[used(set.choose().unwrap()).index] += 1;
        }
        shares
    }

    #[test]
    fn share_of_a_down_upstream_is_divided_evenly() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            for down in 0..4 {
                let set = set(4, balance, true);
                set.failed(down, &"refused");
                set.failed(down, &"refused");
                let mut expected = vec![100; 4];
                expected[down] = 0;
                assert_eq!(shares(&set, 300, |guard| guard), expected, "{balance:?}");
            }
        }
    }

    #[test]
    fn share_of_failing_upstreams_is_divided_evenly() {
        for (failing, down) in [(&[3][..], None), (&[3], Some(0)), (&[0], Some(2)), (&[0, 2], None)]
        {
            let set = set(4, Balance::RoundRobin, true);
            if let Some(down) = down {
                set.failed(down, &"refused");
                set.failed(down, &"refused");
            }
            let shares = shares(&set, 360, |mut guard| {
                while failing.contains(&guard.index) {
                    guard = guard.next().unwrap();
                }
                guard
            });
            let left_out = |index: &usize| failing.contains(index) || down == Some(*index);
            let expected_share = 360 / (0..4).filter(|index| !left_out(index)).count();
            for (index, share) in shares.into_iter().enumerate() {
                let expected = if left_out(&index) { 0 } else { expected_share };
                assert_eq!(share, expected, "{index} of {failing:?}, {down:?}");
            }
        }
    }

    #[test]
    fn concurrent_connections_get_equal_shares() {
        let set = set(4, Balance::RoundRobin, true);
        set.failed(1, &"refused");
        set.failed(1, &"refused");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..1000).for_each(|_| drop(set.choose().unwrap())));
            }
        });
        let chosen: Vec<_> = set.states().map(|state| state.chosen).collect();
        assert_eq!(chosen, [1000, 0, 1000, 1000]);
    }

    #[test]
    fn flapping_upstreams_leave_no_connection_unserved() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let set = set(3, balance, true);
            let end = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // The third one is always up.
                    for round in 0..20_000 {
                        set.succeeded((round + 1) % 2);
                        set.failed(round % 2, &"refused");
                        set.failed(round % 2, &"refused");
                    }
                    end.store(true, Relaxed);
                });
                while !end.load(Relaxed) {
                    assert!(set.choose().is_some());
                }
            });
        }
    }

    #[test]
    fn retry_is_claimed_by_the_connection_that_makes_it() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let set = set(3, balance, false);
            // Its many connections would keep least-connections from choosing it.
            let _busy: Vec<_> = (0..9).map(|_| set.choose().unwrap()).collect();
            let _more = set.guard(1, 0, Box::default(), false);
            set.failed(1, &"refused");
            set.failed(1, &"refused");
            assert!(!turns(&set, 6).contains(&Some(1)));
            set.all[1].try_at.store(0, Relaxed);
            let retry = set.choose().unwrap();
            assert_eq!(retry.index, 1, "{balance:?}");
            assert!(!turns(&set, 6).contains(&Some(1)), "only one connection retries");
            retry.succeeded();
            drop(retry);
            set.all[1].open.store(0, Relaxed);
            assert!(turns(&set, 6).contains(&Some(1)), "{balance:?}");
        }
    }

    #[test]
    fn retry_of_a_down_upstream_carries_no_syn_data() {
        let set = set(1, Balance::RoundRobin, false);
        set.failed(0, &"refused");
        set.failed(0, &"refused");
        set.all[0].try_at.store(0, Relaxed);
        let mut retry = set.choose().unwrap();
        assert!(!retry.permits_syn_data(), "its client could not be sent to another upstream");
        retry.succeeded();
        assert!(set.choose().unwrap().permits_syn_data());
    }

    #[test]
    fn without_checks_one_connection_retries_after_the_interval() {
        let set = set(1, Balance::RoundRobin, false);
        set.failed(0, &"refused");
        set.failed(0, &"refused");
        assert_eq!(chosen(&set), None);
        set.all[0].try_at.store(0, Relaxed);
        assert_eq!(turns(&set, 2), [Some(0), None], "only one connection retries");
        set.succeeded(0);
        assert_eq!(chosen(&set), Some(0));
    }

    #[test]
    fn usable_means_up_or_due_for_a_retry() {
        for checked in [true, false] {
            let set = set(2, Balance::RoundRobin, checked);
            assert!(set.has_usable());
            for index in [0, 0, 1, 1] {
                assert!(set.has_usable(), "{index}");
                set.failed(index, &"refused");
            }
            assert!(!set.has_usable(), "all are down");
            set.all[1].try_at.store(0, Relaxed);
            assert_eq!(set.has_usable(), !checked, "without checks, a connection has to find out");
            set.succeeded(0);
            assert!(set.has_usable());
        }
    }

    /// Returns the guard of a connection whose SYN carries data if permitted, which is expected.
    fn sent(set: &Arc<Upstreams>, expected: bool) -> UpstreamGuard {
        let mut guard = set.choose().unwrap();
        assert_eq!(guard.permits_syn_data(), expected);
        guard.syn_left(expected);
        guard
    }

    #[test]
    fn failures_of_syn_data_pause_it_and_do_not_count_towards_down() {
        let set = set(1, Balance::RoundRobin, true);
        let mut guards: Vec<_> = (0..5).map(|_| sent(&set, true)).collect();
        for guard in &mut guards {
            guard.failed(&"refused", true);
            assert!(!guard.permits_syn_data(), "a retry carries no data either");
        }
        let state = set.states().next().unwrap();
        assert_eq!((state.up, state.failed), (true, 5));
        let _regular = sent(&set, false);
    }

    #[test]
    fn failures_without_syn_data_do_not_end_the_pause() {
        let set = set(1, Balance::RoundRobin, true);
        sent(&set, true).failed(&"refused", true);
        sent(&set, false).failed(&"refused", false);
        set.failed(0, &"a check failed");
        set.succeeded(0);
        let _regular = sent(&set, false);
    }

    #[test]
    fn pause_applies_to_one_upstream() {
        let set = set(2, Balance::RoundRobin, true);
        sent(&set, true).failed(&"refused", true);
        let _other = sent(&set, true);
        let _regular = sent(&set, false);
    }
}
