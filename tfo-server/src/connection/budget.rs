//! The file descriptors that connections may use. A client is accepted only if a descriptor for its upstream is
//! available as well.
//!
//! Invariants:
//!
//! 1. Descriptors of a connection are taken before it is accepted, and given back after they are closed.
//! 2. All workers together never use more than the budget.
//! 3. Each worker has one pair of its own, as far as the budget allows, so that no worker's clients wait forever for
//!    those of other workers.
//! 4. If some listeners do not forward, each pair leaves one descriptor for them: an upstream may be a listener of this
//!    server, and its connections must not wait for those that wait for it.
//! 5. Without a budget, workers share nothing.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Descriptors of one pipe.
const PIPE_DESCRIPTORS: usize = 2;
/// Pipes make bulk transfers cheaper, but no connection needs one: they may use one in this many descriptors.
const PIPES_DIVISOR: usize = 4;
const UNLIMITED: usize = usize::MAX;

/// The descriptors that a connection needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DescriptorCost {
    /// The client's socket.
    Single,
    /// The client's socket and one to an upstream.
    Pair,
}

impl DescriptorCost {
    const fn descriptors(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Pair => 2,
        }
    }
}

/// The descriptors that all workers share. Unlimited by default.
#[derive(Debug)]
pub(crate) struct DescriptorBudget {
    /// Descriptors that are not reserved for single workers.
    capacity: AtomicUsize,
    used: AtomicUsize,
    /// How many of `capacity` pairs may use.
    capacity_of_pairs: AtomicUsize,
    used_by_pairs: AtomicUsize,
    used_by_pipes: AtomicUsize,
    /// How many pairs are reserved for each worker.
    own_pairs: AtomicUsize,
}

impl Default for DescriptorBudget {
    fn default() -> Self {
        let [none, zero] = [UNLIMITED, 0].map(|value| move || AtomicUsize::new(value));
        Self {
            capacity: none(),
            used: zero(),
            capacity_of_pairs: none(),
            used_by_pairs: zero(),
            used_by_pipes: zero(),
            own_pairs: zero(),
        }
    }
}

impl DescriptorBudget {
    /// Sets how many descriptors connections may use. `mixed`: some listeners do not forward.
    pub(crate) fn set(&self, capacity: Option<usize>, workers: usize, mixed: bool) {
        let pair = DescriptorCost::Pair.descriptors();
        let (capacity, own_pairs) = match capacity {
            None => (UNLIMITED, 0),
            Some(capacity) => match capacity.checked_sub(pair * workers) {
                Some(shared) => (shared, 1),
                // Too few to reserve any: one pair must fit.
                None => (capacity.max(pair), 0),
            },
        };
        let of_pairs = match own_pairs {
            1 if mixed => capacity.saturating_sub(workers) / (pair + 1) * pair,
            _ => capacity,
        };
        self.own_pairs.store(own_pairs, Relaxed);
        self.capacity_of_pairs.store(of_pairs, Relaxed);
        self.capacity.store(capacity, Relaxed);
    }

    fn take(&self, cost: DescriptorCost) -> bool {
        let count = cost.descriptors();
        if cost == DescriptorCost::Pair && !add(&self.used_by_pairs, count, &self.capacity_of_pairs)
        {
            return false;
        }
        let room = add(&self.used, count, &self.capacity);
        if !room && cost == DescriptorCost::Pair {
            self.used_by_pairs.fetch_sub(count, Relaxed);
        }
        room
    }

    fn give_back(&self, cost: DescriptorCost, times: usize) {
        let count = cost.descriptors() * times;
        self.used.fetch_sub(count, Relaxed);
        if cost == DescriptorCost::Pair {
            self.used_by_pairs.fetch_sub(count, Relaxed);
        }
    }

    /// Takes descriptors for a pipe. Returns whether any were available.
    pub(crate) fn take_pipe(&self) -> bool {
        let pipes = self.used_by_pipes.fetch_add(PIPE_DESCRIPTORS, Relaxed) + PIPE_DESCRIPTORS;
        let room = pipes <= self.capacity.load(Relaxed) / PIPES_DIVISOR
            && add(&self.used, PIPE_DESCRIPTORS, &self.capacity);
        if !room {
            self.used_by_pipes.fetch_sub(PIPE_DESCRIPTORS, Relaxed);
        }
        room
    }

    /// Gives back the descriptors of a pipe that was closed.
    pub(crate) fn give_back_pipe(&self) {
        self.used.fetch_sub(PIPE_DESCRIPTORS, Relaxed);
        self.used_by_pipes.fetch_sub(PIPE_DESCRIPTORS, Relaxed);
    }
}

/// Adds `count`, unless the sum would exceed the capacity.
fn add(used: &AtomicUsize, count: usize, capacity: &AtomicUsize) -> bool {
    let room = used.fetch_add(count, Relaxed) + count <= capacity.load(Relaxed);
    if !room {
        used.fetch_sub(count, Relaxed);
    }
    room
}

/// The descriptors that one worker's connections use.
#[derive(Debug)]
pub(crate) struct DescriptorShare {
    budget: Arc<DescriptorBudget>,
    singles: CostUsage,
    pairs: CostUsage,
}

/// The connections with one cost.
#[derive(Debug, Default)]
struct CostUsage {
    all: usize,
    /// How many of `all` use shared descriptors.
    shared: usize,
    /// How many of `all` have ended but are not closed yet.
    closing: usize,
    /// When to try again after none was available: another worker may have freed some.
    retry: Option<Instant>,
}

/// Delay before a worker that found no descriptor tries again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl DescriptorShare {
    pub(crate) fn new(budget: Arc<DescriptorBudget>) -> Self {
        Self { budget, singles: CostUsage::default(), pairs: CostUsage::default() }
    }

    /// Takes descriptors for a connection. Returns whether any were available.
    pub(crate) fn take(&mut self, cost: DescriptorCost) -> bool {
        let own = self.own(cost);
        let (budget, taken) = self.taken(cost);
        // Loops more than once only if there was no budget until now.
        while taken.all + 1 > own.saturating_add(taken.shared) {
            if !budget.take(cost) {
                taken.retry = Some(Instant::now() + RETRY_AFTER);
                return false;
            }
            taken.shared += 1;
        }
        taken.all += 1;
        true
    }

    /// Returns when to try again; `None` means at once.
    pub(crate) fn next_try(&self, cost: DescriptorCost) -> Option<Instant> {
        let retry = match cost {
            DescriptorCost::Single => self.singles.retry,
            DescriptorCost::Pair => self.pairs.retry,
        };
        retry.filter(|at| *at > Instant::now())
    }

    /// Gives back the descriptors of a connection that was not accepted after all.
    pub(crate) fn undo(&mut self, cost: DescriptorCost) {
        self.give_back(cost, 1);
    }

    /// Records that a connection has ended.
    pub(crate) fn closing(&mut self, cost: DescriptorCost) {
        self.taken(cost).1.closing += 1;
    }

    /// Records that all ended connections are closed.
    pub(crate) fn closed(&mut self) {
        for cost in [DescriptorCost::Single, DescriptorCost::Pair] {
            let closed = mem::take(&mut self.taken(cost).1.closing);
            if closed > 0 {
                self.give_back(cost, closed);
                (self.singles.retry, self.pairs.retry) = (None, None);
            }
        }
    }

    fn give_back(&mut self, cost: DescriptorCost, count: usize) {
        let own = self.own(cost);
        let (budget, taken) = self.taken(cost);
        taken.all = taken.all.saturating_sub(count);
        let less = taken.shared.saturating_sub(taken.all.saturating_sub(own));
        if less > 0 {
            taken.shared -= less;
            budget.give_back(cost, less);
        }
    }

    fn taken(&mut self, cost: DescriptorCost) -> (&DescriptorBudget, &mut CostUsage) {
        let taken = match cost {
            DescriptorCost::Single => &mut self.singles,
            DescriptorCost::Pair => &mut self.pairs,
        };
        (&self.budget, taken)
    }

    /// Returns how many connections need no shared descriptors.
    fn own(&self, cost: DescriptorCost) -> usize {
        match (self.budget.capacity.load(Relaxed), cost) {
            (UNLIMITED, _) => usize::MAX,
            (_, DescriptorCost::Single) => 0,
            (_, DescriptorCost::Pair) => self.budget.own_pairs.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use DescriptorCost::{Pair, Single};

    use super::*;

    fn budget(
        capacity: usize,
        workers: usize,
        mixed: bool,
    ) -> (Arc<DescriptorBudget>, Vec<DescriptorShare>) {
        let budget = Arc::new(DescriptorBudget::default());
        budget.set(Some(capacity), workers, mixed);
        let shares = (0..workers).map(|_| DescriptorShare::new(Arc::clone(&budget))).collect();
        (budget, shares)
    }

    fn close(share: &mut DescriptorShare, cost: DescriptorCost, count: usize) {
        (0..count).for_each(|_| share.closing(cost));
        share.closed();
    }

    #[test]
    fn workers_with_budget_have_one_own_pair_and_share_the_rest() {
        let (budget, mut shares) = budget(9, 2, false);
        let [one, other] = shares.as_mut_slice() else { panic!("two") };
        assert!((0..3).all(|_| one.take(Pair)), "one own pair and two shared ones");
        assert!(!one.take(Pair), "one shared descriptor is left");
        assert!(one.take(Single), "one that does not forward");
        assert!(other.take(Pair), "the own pair");
        assert!(!other.take(Single) && !other.take(Pair));
        one.closing(Pair);
        assert!(!other.take(Pair), "ended, but not closed yet");
        one.closed();
        assert!(other.take(Pair));
        other.undo(Pair);
        close(one, Pair, 2);
        close(one, Single, 1);
        close(other, Pair, 1);
        assert_eq!((budget.used.load(Relaxed), budget.used_by_pairs.load(Relaxed)), (0, 0));
    }

    #[test]
    fn pairs_beside_other_listeners_leave_one_descriptor_each() {
        for (capacity, workers) in [(14, 2), (30, 2), (100, 3), (10_000, 8)] {
            let (_, mut shares) = budget(capacity, workers, true);
            let mut pairs = 0;
            while shares.iter_mut().any(|share| share.take(Pair)) {
                pairs += 1;
            }
            let mut singles = 0;
            while shares.iter_mut().any(|share| share.take(Single)) {
                singles += 1;
            }
            assert!(singles >= pairs && pairs >= workers, "{capacity}: {pairs} and {singles}");
            assert_eq!(2 * pairs + singles, capacity, "all descriptors are used");
        }
    }

    #[test]
    fn budget_below_one_pair_per_worker_serves_one_pair_at_a_time() {
        let (_, mut shares) = budget(1, 3, true);
        assert!(shares[0].take(Pair));
        assert!(!shares[1].take(Pair) && !shares[2].take(Pair));
        close(&mut shares[0], Pair, 1);
        assert!(shares[2].take(Pair));
    }

    #[test]
    fn connections_older_than_the_budget_count_towards_it() {
        let budget = Arc::new(DescriptorBudget::default());
        let mut share = DescriptorShare::new(Arc::clone(&budget));
        assert!((0..100).all(|_| share.take(Single)), "without a budget nothing is limited");
        assert_eq!(budget.used.load(Relaxed), 0, "without a budget nothing is shared");
        close(&mut share, Single, 90);
        budget.set(Some(14), 1, true);
        assert!(share.take(Single), "the eleventh connection");
        assert!(share.take(Single) && !share.take(Single));
        budget.set(None, 1, true);
        assert!((0..100).all(|_| share.take(Single)));
        close(&mut share, Single, 112);
        assert_eq!(budget.used.load(Relaxed), 0);
    }

    #[test]
    fn pipes_use_at_most_a_quarter_of_the_budget() {
        let (budget, mut shares) = budget(18, 1, false);
        assert!(budget.take_pipe() && budget.take_pipe());
        assert!(!budget.take_pipe(), "more than a quarter");
        assert!((0..7).all(|_| shares[0].take(Pair)) && !shares[0].take(Single));
        budget.give_back_pipe();
        assert!(shares[0].take(Pair));
        assert!(!budget.take_pipe(), "connections use all descriptors");
    }
}
