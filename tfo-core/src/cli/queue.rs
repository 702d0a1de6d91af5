//! A bounded queue in front of a thread that may have to wait, such as one that writes to a pipe.
//!
//! 1. [`Queue::put`] never waits: an item for which there is no room is dropped and counted.
//! 2. Items are taken in the order in which they were put.
//! 3. [`Queue::drain`] waits for the consumer, but never longer than it is told to.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A bounded queue whose producers never wait. Clones share the queue.
pub struct Queue<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    lost: AtomicU64,
    /// Wakes the consumer.
    filled: Condvar,
    /// Wakes those that wait until the queue is drained.
    drained: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// The consumer waits for an item. Without it no system call is needed to wake it.
    waiting: bool,
    /// The consumer is at work on the item that it took last.
    busy: bool,
    /// How many items were taken.
    taken: u64,
}

impl<T> Queue<T> {
    /// Creates a queue that holds at most `capacity` items.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                items: VecDeque::new(),
                waiting: false,
                busy: false,
                taken: 0,
            }),
            capacity,
            lost: AtomicU64::new(0),
            filled: Condvar::new(),
            drained: Condvar::new(),
        }))
    }

    /// Appends an item, or drops and counts it when the queue is full. Returns whether it was
    /// appended.
    pub fn put(&self, item: T) -> bool {
        let mut state = self.lock();
        if state.items.len() >= self.0.capacity {
            drop(state);
            self.lose();
            return false;
        }
        state.items.push_back(item);
        self.wake(&mut state);
        true
    }

    /// Appends an item even when the queue is full: for the last one, which must not be lost.
    pub fn put_last(&self, item: T) {
        let mut state = self.lock();
        state.items.push_back(item);
        self.wake(&mut state);
    }

    /// Waits for the next item. For the one consumer: to take an item is to be done with the one
    /// before.
    #[must_use]
    pub fn take(&self) -> T {
        loop {
            if let Some(item) = self.take_until(None) {
                return item;
            }
        }
    }

    /// [`take`](Self::take) up to a deadline; `None` when it has passed.
    #[must_use]
    pub fn take_until(&self, deadline: Option<Instant>) -> Option<T> {
        let mut state = self.lock();
        state.busy = false;
        loop {
            if let Some(item) = state.items.pop_front() {
                state.busy = true;
                state.taken += 1;
                return Some(item);
            }
            self.0.drained.notify_all();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            state.waiting = true;
            state = wait(&self.0.filled, state, left);
            state.waiting = false;
        }
    }

    /// Whether no item waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// Waits until the consumer is done with every item: at most for `limit`, and no longer than `stall` for one
    /// item. Returns whether it is done.
    #[must_use]
    pub fn drain(&self, stall: Duration, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        let mut progress = (state.taken, Instant::now());
        while state.busy || !state.items.is_empty() {
            let now = Instant::now();
            if state.taken != progress.0 {
                progress = (state.taken, now);
            }
            let left = end.min(progress.1 + stall).saturating_duration_since(now);
            if left.is_zero() {
                return false;
            }
            state = wait(&self.0.drained, state, Some(left));
        }
        true
    }

    /// Counts one more item as lost: the consumer could not deal with it.
    pub fn lose(&self) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many items were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn wake(&self, state: &mut State<T>) {
        if mem::take(&mut state.waiting) {
            self.0.filled.notify_one();
        }
    }

    /// Ignores poisoning: no critical section can leave the queue inconsistent.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
) -> MutexGuard<'a, T> {
    match limit {
        None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(limit) => {
            condition.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("capacity", &self.0.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_it() {
        let queue = Queue::new(2);
        let put: Vec<_> = (0..4).map(|number| queue.put(number)).collect();
        assert_eq!(put, [true, true, false, false]);
        assert_eq!(queue.lost(), 2);
        assert_eq!([queue.take(), queue.take()], [0, 1]);
        assert!(queue.put(4), "there is room again");
        assert_eq!(queue.take(), 4);
        assert_eq!(queue.take_until(Some(Instant::now())), None);
    }

    #[test]
    fn the_last_item_finds_room_in_a_full_queue() {
        let queue = Queue::new(1);
        assert!(queue.put("first"));
        queue.put_last("last");
        assert_eq!([queue.take(), queue.take()], ["first", "last"]);
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn drain_waits_for_the_item_that_the_consumer_is_at() {
        let queue = Queue::new(8);
        let (none, short) = (Duration::ZERO, Duration::from_millis(1));
        assert!(queue.drain(none, none), "nothing was put");
        assert!(queue.put(()));
        assert!(!queue.drain(LONG, short), "nobody takes it");
        assert!(!queue.drain(short, LONG), "and nothing else");
        let () = queue.take();
        assert!(!queue.drain(LONG, short), "taken, and not dealt with");
        assert!(queue.take_until(Some(Instant::now())).is_none());
        assert!(queue.drain(none, none));
    }

    #[test]
    fn items_of_several_threads_all_arrive_in_the_order_of_each() {
        let queue = Queue::new(100_000);
        let consumer = thread::spawn({
            let queue = queue.clone();
            move || (0..20_000).map(|_| queue.take()).collect::<Vec<(u8, u32)>>()
        });
        thread::scope(|scope| {
            for thread in 0..2 {
                let queue = &queue;
                scope.spawn(move || (0..10_000).all(|number| queue.put((thread, number))));
            }
        });
        let taken = consumer.join().unwrap();
        for thread in 0..2 {
            let own = taken.iter().filter(|(of, _)| *of == thread).map(|(_, number)| *number);
            assert!(own.eq(0..10_000));
        }
        assert_eq!(queue.take_until(Some(Instant::now())), None);
        assert!(queue.drain(LONG, LONG));
    }
}
