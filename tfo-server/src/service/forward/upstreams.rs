//! The upstreams of a listener: which are up, and whose turn it is. Shared by all workers; nothing
//! here waits.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::ForwardSettings;
use crate::config::values::Balance;

/// So many failures one after the other, of connections or of checks, mean that an upstream is down.
const FAILURES: u32 = 2;
/// How long an upstream that nobody checks is left alone before a connection tries it again.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// How long an upstream that did not answer a SYN with data gets none: the kernel does not learn.
const NO_SYN_DATA: Duration = Duration::from_secs(60);

/// All upstreams of a listener.
#[derive(Debug)]
pub(crate) struct Upstreams {
    all: Box<[Upstream]>,
    balance: Balance,
    /// Somebody checks whether those that are down are up again.
    checked: bool,
    turn: AtomicUsize,
    started: Instant,
}

/// On a cache line of its own: workers write here.
#[derive(Debug)]
#[repr(align(64))]
struct Upstream {
    address: SocketAddr,
    open: AtomicUsize,
    /// One after the other.
    failures: AtomicU32,
    down: AtomicBool,
    /// Of an upstream that is down: when a connection may try it, in milliseconds since `started`.
    try_at: AtomicU64,
    /// Until when it gets no data in SYNs.
    regular_until: AtomicU64,
    chosen: AtomicU64,
    failed: AtomicU64,
}

/// An upstream, as its metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpstreamState {
    pub(crate) address: SocketAddr,
    pub(crate) up: bool,
    /// Connections that it has now.
    pub(crate) open: usize,
    /// Connections for which it was chosen.
    pub(crate) chosen: u64,
    /// Times that it could not be connected to, by a connection or a check.
    pub(crate) failed: u64,
}

/// One connection's share of an upstream.
#[derive(Debug)]
pub(crate) struct Lease {
    upstreams: Arc<Upstreams>,
    index: usize,
    address: SocketAddr,
    /// How many others were not looked at yet.
    others: usize,
}

impl Upstreams {
    pub(super) fn new(settings: &ForwardSettings) -> Self {
        let upstream = |address: &SocketAddr| Upstream {
            address: *address,
            open: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            down: AtomicBool::new(false),
            try_at: AtomicU64::new(0),
            regular_until: AtomicU64::new(0),
            chosen: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        Self {
            all: settings.upstreams.iter().map(upstream).collect(),
            balance: settings.balance,
            checked: settings.health_interval.is_some(),
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
            up: !upstream.down.load(Relaxed),
            open: upstream.open(),
            chosen: upstream.chosen.load(Relaxed),
            failed: upstream.failed.load(Relaxed),
        })
    }

    /// The upstream whose turn it is; `None`: all are down.
    pub(super) fn choose(self: &Arc<Self>) -> Option<Lease> {
        let count = self.all.len();
        let first = self.turn.fetch_add(1, Relaxed) % count.max(1);
        let mut order = (first..count).chain(0..first);
        let index = match self.balance {
            Balance::RoundRobin => order.find(|&index| self.may_use(index))?,
            // Among equals the turn decides.
            Balance::LeastConnections => order
                .filter(|&index| self.may_use(index))
                .min_by_key(|&index| self.get(index).map_or(usize::MAX, Upstream::open))?,
        };
        self.lease(index, count.saturating_sub(1))
    }

    fn lease(self: &Arc<Self>, index: usize, others: usize) -> Option<Lease> {
        let upstream = self.get(index)?;
        upstream.open.fetch_add(1, Relaxed);
        upstream.chosen.fetch_add(1, Relaxed);
        Some(Lease { upstreams: Arc::clone(self), index, address: upstream.address, others })
    }

    fn get(&self, index: usize) -> Option<&Upstream> {
        self.all.get(index)
    }

    fn may_use(&self, index: usize) -> bool {
        self.get(index).is_some_and(|upstream| {
            !upstream.down.load(Relaxed) || (!self.checked && self.is_trial(upstream))
        })
    }

    /// Whether this connection tries an upstream that is down: one each time.
    fn is_trial(&self, upstream: &Upstream) -> bool {
        let (now, at) = (self.now(), upstream.try_at.load(Relaxed));
        let next = now + millis(LEFT_ALONE);
        now >= at && upstream.try_at.compare_exchange(at, next, Relaxed, Relaxed).is_ok()
    }

    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }

    /// It could not be connected to. With `syn_data` a box that hates data in SYNs may have done
    /// it.
    pub(super) fn failed(&self, index: usize, why: &dyn Display, syn_data: bool) {
        let Some(upstream) = self.get(index) else { return };
        let pause = if syn_data { self.now() + millis(NO_SYN_DATA) } else { 0 };
        upstream.regular_until.store(pause, Relaxed);
        upstream.failed.fetch_add(1, Relaxed);
        let failures = upstream.failures.fetch_add(1, Relaxed).saturating_add(1);
        upstream.try_at.store(self.now() + millis(LEFT_ALONE), Relaxed);
        if failures < FAILURES || upstream.down.swap(true, Relaxed) {
            return;
        }
        log::warn!("upstream {} is down: {why}", upstream.address);
        if self.all.iter().all(|upstream| upstream.down.load(Relaxed)) {
            log::error!("no upstream is up: clients are closed until one is");
        }
    }

    /// It was connected to.
    pub(super) fn succeeded(&self, index: usize) {
        let Some(upstream) = self.get(index) else { return };
        // Written only where it changes: the line stays in the caches of all workers.
        if upstream.failures.load(Relaxed) != 0 {
            upstream.failures.store(0, Relaxed);
        }
        if upstream.down.load(Relaxed) && upstream.down.swap(false, Relaxed) {
            log::info!("upstream {} is up again", upstream.address);
        }
    }
}

impl Upstream {
    fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

impl Lease {
    /// Another upstream that was not tried yet, in place of this one.
    pub(crate) fn next(self) -> Option<Self> {
        let count = self.upstreams.all.len();
        for step in 1..=self.others {
            let index = (self.index + step) % count;
            if self.upstreams.may_use(index) {
                return self.upstreams.lease(index, self.others - step);
            }
        }
        None
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn failed(&self, why: &dyn Display, syn_data: bool) {
        self.upstreams.failed(self.index, why, syn_data);
    }

    pub(crate) fn succeeded(&self) {
        self.upstreams.succeeded(self.index);
    }

    pub(super) fn takes_syn_data(&self) -> bool {
        let until = self.upstream().map_or(0, |upstream| upstream.regular_until.load(Relaxed));
        until == 0 || until <= self.upstreams.now()
    }

    /// A SYN with data was lost, one without was not: a box may be in the way.
    pub(crate) fn pause_syn_data(&self) {
        let Some(upstream) = self.upstream() else { return };
        let (now, until) = (self.upstreams.now(), millis(NO_SYN_DATA));
        if upstream.regular_until.swap(now + until, Relaxed) <= now {
            log::warn!(
                "upstream {}: a SYN with data got no answer, one without did; it gets no data in SYNs \
                 for {NO_SYN_DATA:?}",
                self.address
            );
        }
    }

    fn upstream(&self) -> Option<&Upstream> {
        self.upstreams.get(self.index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(upstream) = self.upstream() {
            upstream.open.fetch_sub(1, Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::ProxyOut;

    fn set(count: u16, balance: Balance, checked: bool) -> Arc<Upstreams> {
        let address = |number| SocketAddr::from(([127, 0, 0, 1], 8000 + number));
        Arc::new(Upstreams::new(&ForwardSettings {
            upstreams: (0..count).map(address).collect(),
            balance,
            fast_open: true,
            proxy_protocol: ProxyOut::Off,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            health_interval: checked.then_some(Duration::from_secs(1)),
        }))
    }

    fn chosen(set: &Arc<Upstreams>) -> Option<usize> {
        set.choose().map(|lease| lease.index)
    }

    fn turns(set: &Arc<Upstreams>, count: usize) -> Vec<Option<usize>> {
        (0..count).map(|_| chosen(set)).collect()
    }

    #[test]
    fn each_is_next_in_turn_and_one_that_is_down_is_left_out() {
        let set = set(3, Balance::RoundRobin, true);
        assert_eq!(turns(&set, 4), [0, 1, 2, 0].map(Some));
        set.failed(1, &"refused", false);
        assert!(turns(&set, 3).contains(&Some(1)), "once is no rule");
        set.failed(1, &"refused", false);
        assert!(!turns(&set, 6).contains(&Some(1)));
        set.succeeded(1);
        assert_eq!(turns(&set, 6).iter().filter(|index| **index == Some(1)).count(), 2);
    }

    #[test]
    fn failures_count_one_after_the_other() {
        let set = set(1, Balance::RoundRobin, true);
        for _ in 0..5 {
            set.failed(0, &"refused", false);
            set.succeeded(0);
        }
        assert_eq!(chosen(&set), Some(0));
        set.failed(0, &"refused", false);
        set.failed(0, &"refused", false);
        assert_eq!(chosen(&set), None, "all are down");
    }

    #[test]
    fn the_one_with_the_fewest_connections_is_next() {
        let set = set(3, Balance::LeastConnections, true);
        let mut leases: Vec<_> = (0..6).map(|_| set.choose().unwrap()).collect();
        assert!(set.all.iter().all(|upstream| upstream.open() == 2), "even at first");
        leases.retain(|lease| lease.index != 2);
        leases.push(set.choose().unwrap());
        leases.push(set.choose().unwrap());
        assert!(set.all.iter().all(|upstream| upstream.open() == 2), "{leases:?}");
        drop(leases);
        assert!(set.all.iter().all(|upstream| upstream.open() == 0), "given back");
    }

    #[test]
    fn after_a_failure_each_other_is_tried_once() {
        let set = set(4, Balance::RoundRobin, true);
        set.failed(2, &"refused", false);
        set.failed(2, &"refused", false);
        let first = set.choose().unwrap();
        assert_eq!(first.index, 0);
        let second = first.next().unwrap();
        assert_eq!(second.index, 1);
        let third = second.next().unwrap();
        assert_eq!(third.index, 3, "2 is down");
        assert!(third.next().is_none(), "not the first again");
        assert!(set.all.iter().all(|upstream| upstream.open() == 0));
    }

    #[test]
    fn without_checks_one_connection_tries_again_after_a_while() {
        let set = set(1, Balance::RoundRobin, false);
        set.failed(0, &"refused", false);
        set.failed(0, &"refused", false);
        assert_eq!(chosen(&set), None);
        set.all[0].try_at.store(0, Relaxed);
        assert_eq!(turns(&set, 2), [Some(0), None], "one, not all");
        set.succeeded(0);
        assert_eq!(chosen(&set), Some(0));
    }

    #[test]
    fn an_upstream_that_loses_syn_data_gets_none_for_a_while() {
        let set = set(2, Balance::RoundRobin, true);
        let lease = set.choose().unwrap();
        assert!(lease.takes_syn_data());
        lease.pause_syn_data();
        assert!(!lease.takes_syn_data());
        assert!(set.choose().unwrap().takes_syn_data(), "the other does");
        lease.failed(&"refused", false);
        assert!(lease.takes_syn_data(), "it was no matter of the data");
        lease.failed(&"refused", true);
        assert!(!lease.takes_syn_data());
    }
}
