//! A bounded queue for a thread that may block, such as one that writes to a pipe.
//!
//! 1. [`Queue::put`] never waits: if the queue is full, the item is dropped and counted.
//! 2. Items are taken in the order in which they were put.
//! 3. [`Queue::drain`] waits for the consumer, but never longer than its limits.

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
    /// Wakes threads in [`Queue::drain`].
    drained: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Whether the consumer waits for an item. If not, waking the consumer would be a needless system call.
    waiting: bool,
    /// Whether the consumer still works on the item that it took last.
    busy: bool,
    /// Number of items that were taken.
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

    /// Appends an item, or drops and counts it if the queue is full. Returns whether the item was appended.
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

    /// Appends an item even if the queue is full. For the last item, which must not be lost.
    pub fn put_last(&self, item: T) {
        let mut state = self.lock();
        state.items.push_back(item);
        self.wake(&mut state);
    }

    /// Waits for the next item. Only one thread may call it; the call also ends the work on the item before.
    #[must_use]
    pub fn take(&self) -> T {
        loop {
            if let Some(item) = self.take_until(None) {
                return item;
            }
        }
    }

    /// [`take`](Self::take) with a deadline. Returns `None` when the deadline has passed.
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

    /// Returns whether the queue contains no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// Waits until the consumer has finished every item: at most `limit`, and at most `item_limit` for one item.
    /// Returns whether every item is finished.
    #[must_use]
    pub fn drain(&self, item_limit: Duration, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        let mut progress = (state.taken, Instant::now());
        while state.busy || !state.items.is_empty() {
            let now = Instant::now();
            if state.taken != progress.0 {
                progress = (state.taken, now);
            }
            let left = end.min(progress.1 + item_limit).saturating_duration_since(now);
            if left.is_zero() {
                return false;
            }
            state = wait(&self.0.drained, state, Some(left));
        }
        true
    }

    /// Counts an item as lost that the consumer could not process.
    pub fn lose(&self) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of lost items.
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
    fn full_queue_drops_and_counts_new_items() {
        let queue = Queue::new(2);
        let put: Vec<_> = (0..4).map(|number| queue.put(number)).collect();
        assert_eq!(put, [true, true, false, false]);
        assert_eq!(queue.lost(), 2);
        assert_eq!([queue.take(), queue.take()], [0, 1]);
        assert!(queue.put(4), "the queue has room again");
        assert_eq!(queue.take(), 4);
        assert_eq!(queue.take_until(Some(Instant::now())), None);
    }

    #[test]
    fn last_item_is_appended_to_a_full_queue() {
        let queue = Queue::new(1);
        assert!(queue.put("first"));
        queue.put_last("last");
        assert_eq!([queue.take(), queue.take()], ["first", "last"]);
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn drain_waits_for_the_item_in_progress() {
        let queue = Queue::new(8);
        let (none, short) = (Duration::ZERO, Duration::from_millis(1));
        assert!(queue.drain(none, none), "the queue was never used");
        assert!(queue.put(()));
        assert!(!queue.drain(LONG, short), "no thread takes the item");
        assert!(!queue.drain(short, LONG), "the limit for one item");
        let () = queue.take();
        assert!(!queue.drain(LONG, short), "the item is taken and not finished");
        assert!(queue.take_until(Some(Instant::now())).is_none());
        assert!(queue.drain(none, none));
    }

    #[test]
    fn items_of_each_thread_arrive_in_its_order() {
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
