//! From a listener's accept queue to a connection that is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tfo_core::cli::output::counted;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use tfo_core::cli::error_chain;
use tfo_core::socket::TcpState;
use tfo_core::socket::{Arrival, FastOpenListener, FastOpenStream};

use super::Worker;
use super::listener::{ACCEPT_BATCH, ACCEPT_PAUSE, LISTENERS, WorkerListener};
use super::reserve::{DescriptorReserve, GRACE};
use crate::arrival;
use crate::arrival::cookie_origin::OriginReading;
use crate::close_reason::CloseKind;
use crate::connection::Connection;
use crate::connection::budget::DescriptorCost;
use crate::connection::listener::ListenerContext;
use crate::metrics::stats::{Count, Timing};

impl Worker {
    /// Starts to accept from a listener. If the number is in use, only its context is replaced.
    pub(super) fn listen(
        &mut self,
        number: usize,
        listener: Arc<FastOpenListener>,
        context: Box<ListenerContext>,
    ) -> io::Result<()> {
        if self.listeners.len() <= number {
            self.listeners.resize_with(number + 1, || None);
        }
        let Some(slot) = self.listeners.get_mut(number) else { return Ok(()) };
        let context = Rc::from(context);
        if let Some(entry) = slot {
            entry.context = context;
            return Ok(());
        }
        let fd = listener.as_fd().as_raw_fd();
        let token = Token(LISTENERS + number);
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        *slot = Some(WorkerListener { listener, context, ready: true, closing: false });
        Ok(())
    }

    /// Serves the queued connections, whose data the kernel may already have acknowledged. The listener closes once its
    /// queue is empty.
    pub(super) fn stop_accepting(&mut self, number: usize) {
        let Some(Some(entry)) = self.listeners.get_mut(number) else { return };
        entry.ready = true;
        entry.closing = true;
        let listener = &entry.listener;
        if listener.is_inherited() {
            // The socket outlives this server: later connections wait for its next owner.
            let queued = listener.waiting().unwrap_or(0);
            self.accept_some(number, usize::try_from(queued).unwrap_or(usize::MAX));
            self.close_listener(number);
        }
    }

    pub(super) fn close_when_empty(&mut self, number: usize) {
        let Some(Some(entry)) = self.listeners.get(number) else { return };
        // Queued connections for which there is no room keep the listener open until the drain timeout.
        if !entry.ready && entry.closing {
            self.close_listener(number);
        }
    }

    /// Removes a listener. Its socket closes once no other worker uses it.
    fn close_listener(&mut self, number: usize) {
        if let Some(slot) = self.listeners.get_mut(number)
            && let Some(entry) = slot.take()
        {
            let fd = entry.listener.as_fd().as_raw_fd();
            if let Err(e) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
                log::debug!("{}: {e}", entry.context.address);
            }
        }
    }

    pub(super) fn mark_ready(&mut self, number: usize) {
        if let Some(Some(entry)) = self.listeners.get_mut(number) {
            entry.ready = true;
        }
    }

    pub(super) fn may_accept(&self) -> bool {
        !self.shared.is_full() && self.accept_after.is_none_or(|at| at <= Instant::now())
    }

    /// Accepts up to `max` connections. Returns whether more may be queued.
    ///
    /// Connections are handled in batches: all are accepted, then each is served, then those that have ended are
    /// closed. A batch takes a sixth less time than the same connections one by one: code and data stay in the cache,
    /// and more handshakes have completed by the time their connections are served.
    pub(super) fn accept_some(&mut self, number: usize, max: usize) -> bool {
        let Some(Some(entry)) = self.listeners.get(number) else { return false };
        if !entry.ready || self.descriptors.next_try(entry.context.cost).is_some() {
            return false;
        }
        let context = Rc::clone(&entry.context);
        let listener = Arc::clone(&entry.listener);
        let mut left = max;
        while left > 0 {
            let batch = left.min(ACCEPT_BATCH);
            let more = self.accept_batch(number, &listener, &context, batch);
            left -= batch;
            let mut batch = std::mem::take(&mut self.batch);
            for (stream, peer) in batch.drain(..) {
                self.start_connection(&listener, &context, stream, peer);
            }
            self.batch = batch;
            self.close_ended();
            if !more {
                return false;
            }
        }
        true
    }

    /// Takes up to `max` connections from the accept queue. Returns whether more may be queued.
    fn accept_batch(
        &mut self,
        number: usize,
        listener: &FastOpenListener,
        context: &ListenerContext,
        max: usize,
    ) -> bool {
        while self.batch.len() < max {
            if !self.may_accept() && !self.make_room() {
                // A connection of another worker may end.
                let now = Instant::now();
                if self.accept_after.is_none() {
                    context.stats.add(Count::PausedByLimit, 1);
                }
                // A time in the past would make the loop spin.
                if self.accept_after.is_none_or(|at| at <= now) {
                    self.accept_after = Some(now + self.pause());
                }
                return false;
            }
            self.accept_after = None;
            if !self.descriptors.take(context.cost) {
                if listener.waiting().is_ok_and(|queued| queued == 0) {
                    self.note_empty_backlog(number);
                } else {
                    self.note_starved(context, |open| {
                        exhaustion_advice(purpose(context.cost), open)
                    });
                }
                return false;
            }
            let accepted = listener.accept_raw();
            if accepted.is_err() {
                self.descriptors.undo(context.cost);
            }
            match accepted {
                Ok(accepted) => {
                    self.shared.open.fetch_add(1, Ordering::Relaxed);
                    context.observer.accepted();
                    self.batch.push(accepted);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.note_empty_backlog(number);
                    return false;
                }
                Err(e) if FastOpenListener::is_transient_accept_error(&e) => {
                    log::debug!("a connection ended before it was accepted: {e}");
                }
                Err(e)
                    if FastOpenListener::is_resource_exhaustion(&e) && self.lend_descriptor() => {}
                Err(e) => {
                    self.accept_after = Some(Instant::now() + self.pause());
                    self.note_starved(context, |open| accept_advice(&e, open));
                    return false;
                }
            }
        }
        true
    }

    /// Logs, once, that queued connections cannot be accepted.
    fn note_starved(&mut self, context: &ListenerContext, message: impl FnOnce(usize) -> String) {
        if !std::mem::replace(&mut self.starved, true) {
            context.stats.add(Count::PausedByDescriptors, 1);
            self.shared.starved.fetch_add(1, Ordering::Relaxed);
            log::warn!("{}", message(self.shared.open.load(Ordering::Relaxed)));
        }
    }

    /// Records that the accept queue is empty.
    fn note_empty_backlog(&mut self, number: usize) {
        if let Some(Some(entry)) = self.listeners.get_mut(number) {
            entry.ready = false;
        }
        // Not at the first accepted connection: the next may lack a descriptor again, and two lines would be logged for
        // each.
        if std::mem::take(&mut self.starved) {
            self.shared.starved.fetch_sub(1, Ordering::Relaxed);
            log::info!("accepting again: the accept queue is empty");
        }
    }

    /// Starts to serve an accepted connection.
    fn start_connection(
        &mut self,
        listener: &FastOpenListener,
        context: &Rc<ListenerContext>,
        stream: FastOpenStream,
        peer: SocketAddr,
    ) {
        let arrival = context.inspect.then(|| listener.arrival(&stream, peer));
        let arrival = arrival.and_then(|arrival| {
            arrival.inspect_err(|e| log::debug!("{peer}: {}", error_chain(e))).ok()
        });
        let handshake_ended =
            arrival.as_ref().is_some_and(|arrival| arrival.tcp.state != TcpState::SynRecv);
        let now = self.scratch.turn.now;
        let mut connection =
            Connection::new(stream, handshake_ended, peer, Rc::clone(context), now);
        if let Some(arrival) = &arrival {
            self.inspect_arrival(&mut connection, arrival, listener);
        }
        if context.await_handshake && !handshake_ended {
            connection.await_handshake();
        }
        context.stats.add(Count::Accepted, 1);
        context.stats.add(Count::Verdict(connection.verdict), 1);
        // Behind a proxy, the PROXY header names the client.
        if !context.expects_header && !Self::admit_source(&self.shared.sources, &mut connection) {
            return self.finish(connection, Some(CloseKind::PerSource.into()));
        }
        let index = self.connections.insert(connection);
        // A SYN's data is already there, so the connection is served before the next poll.
        self.drive(index);
    }

    /// Records how a connection arrived: the verdict, the origin of its cookie, and the evidence that is kept for
    /// later.
    fn inspect_arrival(
        &mut self,
        connection: &mut Connection,
        seen: &Arrival,
        listener: &FastOpenListener,
    ) {
        let context = &connection.listener;
        let mut cookie_origin = self.forensics.origin(seen, self.keys.ring());
        if cookie_origin.is_some_and(|origin| origin.is_contradicted_by(seen)) {
            // Only a client that has completed a handshake can cause this cost.
            cookie_origin = match self.keys.read_again(listener) {
                Some(ring) => self.forensics.origin(seen, Some(&ring)),
                None => Some(OriginReading::Unreadable),
            };
        }
        if let Some(origin) = cookie_origin {
            context.stats.add(Count::Cookie(origin.into()), 1);
        }
        (connection.verdict, connection.arrival) =
            arrival::inspect(&context.observer, seen, cookie_origin, context.keep_evidence);
        if seen.tcp.state != TcpState::SynRecv && seen.tcp.rtt_us > 0 {
            context.stats.observe(Timing::Handshake, Duration::from_micros(seen.tcp.rtt_us.into()));
        }
        if let Some(syn) = seen.syn.saved() {
            context.stats.add(Count::SynBytes, syn.payload_bytes.into());
        }
    }
}

/// On the metrics thread: see [`DescriptorReserve`].
impl Worker {
    /// Reserves descriptors, and closes idle connections when there is no room for new ones.
    pub(crate) fn with_reserve(mut self) -> Self {
        self.reserve = Some(DescriptorReserve::default());
        self.refill_reserve();
        self
    }

    /// Refills the reserve as far as descriptors are available.
    pub(super) fn refill_reserve(&mut self) {
        if let Some(reserve) = &mut self.reserve {
            // While a reserved descriptor is in use, connections are closed after their answer.
            self.scratch.turn.ending = reserve.refill() || self.drain_until.is_some();
        }
    }

    /// Frees a descriptor for the next connection. Returns whether to try again.
    pub(super) fn lend_descriptor(&mut self) -> bool {
        let Some(reserve) = &mut self.reserve else { return false };
        if !reserve.lend() {
            return self.close_idlest();
        }
        self.scratch.turn.ending = true;
        true
    }

    /// Returns how long to pause before accepting again.
    pub(super) fn pause(&self) -> Duration {
        if self.reserve.is_some() { GRACE } else { ACCEPT_PAUSE }
    }

    /// Makes room for one more connection. Returns whether there is room.
    pub(super) fn make_room(&mut self) -> bool {
        self.reserve.is_some() && self.shared.is_full() && self.close_idlest()
    }

    /// Closes the connection that has been idle longest. If none is idle, closes the one with the earliest deadline.
    fn close_idlest(&mut self) -> bool {
        let now = Instant::now();
        let old = |started: Instant| now.saturating_duration_since(started) >= GRACE;
        let candidates = self.connections.iter().filter(|(_, one)| old(one.started));
        let idlest = candidates.min_by_key(|(_, one)| (!one.has_sent_all(), one.deadline));
        let Some((index, _)) = idlest else { return false };
        self.close_connection(index, Some(CloseKind::IdleTimeout.into()));
        self.close_ended();
        true
    }
}

fn accept_advice(e: &io::Error, open: usize) -> String {
    if FastOpenListener::is_resource_exhaustion(e) {
        exhaustion_advice(&format!(" ({e})"), open)
    } else {
        format!("accepting failed: {e}; trying again every {} ms", ACCEPT_PAUSE.as_millis())
    }
}

/// Describes the connections for which the descriptor budget has no room.
const fn purpose(cost: DescriptorCost) -> &'static str {
    match cost {
        DescriptorCost::Pair => " for a client and its upstream",
        DescriptorCost::Single => " except those reserved for forwarded clients",
    }
}

fn exhaustion_advice(purpose: &str, open: usize) -> String {
    format!(
        "no descriptors left{purpose}: still serving {}; new ones are queued. Raise the limit (ulimit -n, \
         LimitNOFILE= in systemd), or lower limits.connections",
        counted(open, "connection", "connections")
    )
}
