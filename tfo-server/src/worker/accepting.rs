//! From the accept queue of a listener to a connection that is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use tfo_core::cli::error_chain;
use tfo_core::socket::TcpState;
use tfo_core::socket::{Arrival, FastOpenListener, FastOpenStream};

use super::Worker;
use super::listener::{ACCEPT_BATCH, ACCEPT_PAUSE, LISTENERS, WorkerListener};
use super::reserve::{DescriptorReserve, GRACE};
use crate::arrival;
use crate::arrival::cookie_origin::CookieOrigin;
use crate::close_reason::CloseKind;
use crate::connection::Connection;
use crate::connection::budget::DescriptorCost;
use crate::connection::listener::ListenerContext;
use crate::metrics::stats::{Count, Timing};

impl Worker {
    /// Starts to accept from a listener. For a number that is in use only the context changes.
    pub(super) fn listen(
        &mut self,
        number: usize,
        listener: Arc<FastOpenListener>,
        context: Box<ListenerContext>,
    ) -> io::Result<()> {
        if self.listeners.len() <= number {
            self.listeners.resize_with(number + 1, || None);
        }
        let Some(place) = self.listeners.get_mut(number) else { return Ok(()) };
        let context = Rc::from(context);
        if let Some(listeners) = place {
            listeners.context = context;
            return Ok(());
        }
        let fd = listener.as_fd().as_raw_fd();
        let token = Token(LISTENERS + number);
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        *place = Some(WorkerListener { listener, context, ready: true, closing: false });
        Ok(())
    }

    /// Serves the connections that are queued, whose data the kernel may have acknowledged. The listener closes
    /// once its queue is empty.
    pub(super) fn stop_accepting(&mut self, number: usize) {
        let Some(Some(listeners)) = self.listeners.get_mut(number) else { return };
        listeners.ready = true;
        listeners.closing = true;
        let listener = &listeners.listener;
        if listener.is_inherited() {
            // The socket outlives this server: a client that comes later waits for its next owner.
            let waiting = listener.waiting().unwrap_or(0);
            self.accept_some(number, usize::try_from(waiting).unwrap_or(usize::MAX));
            self.close_listener(number);
        }
    }

    pub(super) fn close_when_empty(&mut self, number: usize) {
        let Some(Some(listeners)) = self.listeners.get(number) else { return };
        // As long as there is no room for connections that wait they keep it open, until the drain is over.
        if !listeners.ready && listeners.closing {
            self.close_listener(number);
        }
    }

    /// Closes a listener, unless another worker has it too.
    fn close_listener(&mut self, number: usize) {
        if let Some(place) = self.listeners.get_mut(number)
            && let Some(listeners) = place.take()
        {
            let fd = listeners.listener.as_fd().as_raw_fd();
            if let Err(e) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
                log::debug!("{}: {e}", listeners.context.address);
            }
        }
    }

    pub(super) fn mark_ready(&mut self, number: usize) {
        if let Some(Some(listeners)) = self.listeners.get_mut(number) {
            listeners.ready = true;
        }
    }

    pub(super) fn may_accept(&self) -> bool {
        !self.shared.is_full() && self.accept_after.is_none_or(|at| at <= Instant::now())
    }

    /// Accepts up to `most` connections. Returns whether there may be more.
    ///
    /// They are accepted in batches: all that wait, then each is served, then those that are done are closed.
    /// That takes a sixth less time than one after the other: each step finds its code and data at hand,
    /// and more of the handshakes' ends have come by then.
    pub(super) fn accept_some(&mut self, number: usize, most: usize) -> bool {
        let Some(Some(listeners)) = self.listeners.get(number) else { return false };
        if !listeners.ready || self.descriptors.next_try(listeners.context.cost).is_some() {
            return false;
        }
        let context = Rc::clone(&listeners.context);
        let listener = Arc::clone(&listeners.listener);
        let mut left = most;
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

    /// Takes up to `most` connections from the accept queue. Returns whether there may be more.
    fn accept_batch(
        &mut self,
        number: usize,
        listener: &FastOpenListener,
        context: &ListenerContext,
        most: usize,
    ) -> bool {
        while self.batch.len() < most {
            if !self.may_accept() && !self.make_room() {
                // Another worker's connection may make room.
                let now = Instant::now();
                if self.accept_after.is_none() {
                    context.stats.add(Count::PausedByLimit, 1);
                }
                // A time that has gone by would make the loop spin.
                if self.accept_after.is_none_or(|at| at <= now) {
                    self.accept_after = Some(now + self.pause());
                }
                return false;
            }
            self.accept_after = None;
            if !self.descriptors.take(context.cost) {
                if listener.waiting().is_ok_and(|waiting| waiting == 0) {
                    self.note_empty_backlog(number);
                } else {
                    self.note_starved(context, |open| served_on(lacking(context.cost), open));
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
                    log::debug!("a connection was gone before it was accepted: {e}");
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

    /// Logs, once, that queued connections can't be accepted.
    fn note_starved(&mut self, context: &ListenerContext, advice: impl FnOnce(usize) -> String) {
        if !std::mem::replace(&mut self.starved, true) {
            context.stats.add(Count::PausedByDescriptors, 1);
            self.shared.starved.fetch_add(1, Ordering::Relaxed);
            log::warn!("{}", advice(self.shared.open.load(Ordering::Relaxed)));
        }
    }

    /// Notes that the accept queue is empty.
    fn note_empty_backlog(&mut self, number: usize) {
        if let Some(Some(listeners)) = self.listeners.get_mut(number) {
            listeners.ready = false;
        }
        // Not with the first that is accepted: the next may want in vain again, and each of those
        // who wait would make two lines.
        if std::mem::take(&mut self.starved) {
            self.shared.starved.fetch_sub(1, Ordering::Relaxed);
            log::info!("accepting again: nobody waits any more");
        }
    }

    /// Starts to serve a connection.
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
        let ended = arrival.as_ref().is_some_and(|arrival| arrival.tcp.state != TcpState::SynRecv);
        let now = self.scratch.turn.now;
        let mut connection = Connection::new(stream, ended, peer, Rc::clone(context), now);
        if let Some(arrival) = &arrival {
            self.inspect_arrival(&mut connection, arrival, listener);
        }
        if context.await_handshake && !ended {
            connection.await_handshake();
        }
        context.stats.add(Count::Accepted, 1);
        context.stats.add(Count::Verdict(connection.verdict), 1);
        // Behind a proxy its header names the client.
        if !context.expects_header && !Self::admit_source(&self.shared.sources, &mut connection) {
            return self.finish(connection, Some(CloseKind::PerSource.into()));
        }
        let index = self.connections.insert(connection);
        // A SYN's data is there already: served before anyone asks the poll.
        self.drive(index);
    }

    /// Records how the connection arrived: the verdict, the origin of its cookie, and what is kept for later.
    fn inspect_arrival(
        &mut self,
        connection: &mut Connection,
        seen: &Arrival,
        listener: &FastOpenListener,
    ) {
        let context = &connection.listener;
        let mut cookie_origin = self.forensics.origin(seen, self.keys.ring());
        if cookie_origin.is_some_and(|origin| origin.is_contradicted_by(seen)) {
            // That takes a whole handshake, as the look for other addresses does.
            cookie_origin = match self.keys.read_again(listener) {
                Some(ring) => self.forensics.origin(seen, Some(&ring)),
                None => Some(CookieOrigin::Unknown),
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

/// On the thread of the metrics: see [`DescriptorReserve`].
impl Worker {
    /// Holds descriptors back for its own peers, and closes idle ones when it has no room.
    pub(crate) fn with_reserve(mut self) -> Self {
        self.reserve = Some(DescriptorReserve::default());
        self.refill_reserve();
        self
    }

    /// Takes back what was lent, as far as it is free again.
    pub(super) fn refill_reserve(&mut self) {
        if let Some(reserve) = &mut self.reserve {
            // Who is answered while something is lent is not kept for another request.
            self.scratch.turn.ending = reserve.refill() || self.drain_until.is_some();
        }
    }

    /// Makes a descriptor free for the next connection. Returns whether it is worth trying again.
    pub(super) fn lend_descriptor(&mut self) -> bool {
        let Some(reserve) = &mut self.reserve else { return false };
        if !reserve.lend() {
            return self.close_idlest();
        }
        self.scratch.turn.ending = true;
        true
    }

    /// How long to wait before accepting is tried again.
    pub(super) fn pause(&self) -> Duration {
        if self.reserve.is_some() { GRACE } else { ACCEPT_PAUSE }
    }

    /// Makes room for one more connection. Returns whether there is some.
    pub(super) fn make_room(&mut self) -> bool {
        self.reserve.is_some() && self.shared.is_full() && self.close_idlest()
    }

    /// Closes the connection that has been idle longest, or, if all are at work, the one whose deadline is
    /// next.
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
        served_on(&format!(" ({e})"), open)
    } else {
        format!("accepting failed ({e}); trying again every {} ms", ACCEPT_PAUSE.as_millis())
    }
}

/// What there are no descriptors for, within the budget.
const fn lacking(cost: DescriptorCost) -> &'static str {
    match cost {
        DescriptorCost::Pair => " for a client and its upstream",
        DescriptorCost::Single => " beside those for forwarded clients",
    }
}

fn served_on(what: &str, open: usize) -> String {
    format!(
        "no descriptors left{what}: {open} connections are served on, new ones wait. Raise the \
         limit (ulimit -n, LimitNOFILE= in systemd), or lower limits.connections"
    )
}
