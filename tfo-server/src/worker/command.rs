//! Orders from the supervisor to a worker.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mio::Waker;
use tfo_core::socket::FastOpenListener;

use crate::close_reason::Cut;
use crate::connection::listener::Plan;

pub(crate) enum Order {
    /// Accept from this listener by this plan; a number that is known has another plan from now on.
    Listen { number: usize, listener: Arc<FastOpenListener>, plan: Box<Plan> },
    /// Serve what waits at this listener, and close it.
    Close { number: usize },
    /// Connections may end: end when they have, and all listeners are closed, or then.
    Drain { until: Instant },
    /// Say that you work.
    Answer,
    /// End now.
    Cut(Cut),
}

/// A worker's orders, and what wakes it.
pub(crate) struct Inbox {
    orders: Mutex<Vec<Order>>,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { orders: Mutex::default(), waker }
    }

    pub(crate) fn put(&self, order: Order) -> io::Result<()> {
        self.put_all([order])
    }

    /// Puts several orders, and wakes the worker once.
    pub(crate) fn put_all(&self, orders: impl IntoIterator<Item = Order>) -> io::Result<()> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).extend(orders);
        self.waker.wake()
    }

    pub(crate) fn take(&self) -> Vec<Order> {
        std::mem::take(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
