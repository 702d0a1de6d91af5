//! One dial: the connections that race for it. The first one whose handshake ends wins.
//!
//! Invariants:
//!
//! 1. A message that must not be executed twice is sent on one flow only: in the SYN of the first flow, which then has no
//!    rival, or after the handshake of the winner.
//! 2. Fast open is blamed only if a regular connection to the same address won, or if its message may not be sent again.
//! 3. A flow that loses is closed before the winner is returned.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use super::plan::{Plan, Policy};
use super::{Destination, DialError, FastOpenPermit, Message, Witness};
use crate::error::{Error, Result};
use crate::host::cookie_cache;
use crate::socket::connector::{self, QUEUED_ERROR};
use crate::socket::{Attempt, FastOpenStream, option};
use crate::sys::socket::{self, Ready};

/// The connection attempt delay of RFC 8305: how long an address may stay unanswered before the next one is tried.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// The delay of a hedge if no round trip time is known.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(250);
/// What a hedge waits beyond the round trip.
const MARGIN: Duration = Duration::from_millis(10);
/// The kernel itself sends a regular SYN after a second.
const LONGEST_HEDGE: Duration = Duration::from_secs(1);

pub(super) struct Race<'a> {
    plan: &'a Plan,
    message: Message<'a>,
    deadline: Option<Instant>,
    /// The time when the last wait ended.
    now: Instant,
    flows: Vec<Flow>,
    /// Flows of fast open that were refused: a regular connection to the same address decides why.
    refused: Vec<Witness>,
    failure: Option<Error>,
    /// The message was sent, wholly or in part.
    sent: bool,
}

/// A connection whose handshake has not ended.
struct Flow {
    stream: FastOpenStream,
    witness: Witness,
    /// When a regular connection is made beside it.
    hedge_at: Option<Instant>,
}

impl<'a> Race<'a> {
    pub(super) fn new(plan: &'a Plan, message: Message<'a>, deadline: Option<Instant>) -> Self {
        Self {
            plan,
            message,
            deadline,
            now: Instant::now(),
            flows: Vec::with_capacity(1),
            refused: Vec::new(),
            failure: None,
            sent: false,
        }
    }

    pub(super) fn run(
        mut self,
        first: SocketAddr,
        others: Vec<SocketAddr>,
    ) -> Result<FastOpenStream, DialError> {
        let mut others = others.into_iter().peekable();
        self.start(first, true);
        let mut next_at = others.peek().map(|_| self.now + NEXT_ADDRESS);
        loop {
            // No other address is tried beside a message that must not be executed twice.
            let committed = self.sent && !self.message.idempotent;
            if !committed
                && (self.flows.is_empty() || next_at.is_some_and(|at| at <= self.now))
                && let Some(address) = others.next()
            {
                self.start(address, false);
                next_at = others.peek().map(|_| self.now + NEXT_ADDRESS);
                continue;
            }
            if self.flows.is_empty() {
                return Err(self.failed());
            }
            self.hedge();
            let at = next_at.filter(|_| !committed);
            let ready = self.wait(at).map_err(|e| self.failed_by(e))?;
            self.now = Instant::now();
            let Some(Ready { index, queued_error }) = ready else { continue };
            match self.flows[index].stream.take_error() {
                Ok(None) if queued_error => thread::sleep(QUEUED_ERROR),
                Ok(None) => {
                    let flow = self.flows.swap_remove(index);
                    return self.won(flow);
                }
                Ok(Some(e)) | Err(e) => {
                    let flow = self.flows.swap_remove(index);
                    self.lost(flow, e);
                }
            }
        }
    }

    /// Starts a connection, with fast open if the policy, the memory and the message allow it.
    fn start(&mut self, address: SocketAddr, first: bool) {
        let destination = self.plan.memory.destination(address);
        let may = self.message.in_syn && (self.message.idempotent || first);
        let asks = may && !self.message.bytes.is_empty() && self.plan.policy != Policy::Off;
        let permit = asks.then(|| self.permit(&destination)).flatten();
        let how = match permit {
            Some(_) => None,
            None if asks => Some(Attempt::Paused),
            None => Some(Attempt::Regular),
        };
        self.start_as(how, Witness::new(address, destination, permit));
    }

    fn start_regular(&mut self, address: SocketAddr, destination: Destination) {
        self.start_as(Some(Attempt::Regular), Witness::new(address, destination, None));
    }

    fn start_as(&mut self, regular: Option<Attempt>, witness: Witness) {
        match self.plan.start(witness.address(), self.message.bytes, regular) {
            Ok(stream) => self.started(stream, witness),
            Err(e) => self.failure = Some(e),
        }
    }

    fn permit(&self, destination: &Destination) -> Option<FastOpenPermit> {
        match self.plan.policy {
            Policy::Off => None,
            Policy::Require => Some(destination.refuse()),
            // A trial may fail: only what may be sent again takes part.
            Policy::Try if !self.message.idempotent && destination.is_paused() => None,
            Policy::Try => Some(destination.permit()).filter(FastOpenPermit::is_granted),
        }
    }

    fn started(&mut self, stream: FastOpenStream, mut witness: Witness) {
        let asked = witness.permits();
        if let Some(attempt) = stream.attempt() {
            witness.sent(attempt, self.now);
        }
        let address = witness.address();
        self.sent |= witness.in_syn > 0;
        if asked && !witness.permits() && self.plan.policy == Policy::Require {
            let refused = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            self.failure = Some(Error::system("connect with fast open to", address, refused));
            return;
        }
        let replayable = witness.in_syn == 0 || self.message.idempotent;
        let hedged = witness.permits() && replayable && self.plan.policy == Policy::Try;
        let hedge_at = hedged.then(|| self.now + self.hedge_delay(&witness));
        self.flows.push(Flow { stream, witness, hedge_at });
    }

    fn hedge_delay(&self, witness: &Witness) -> Duration {
        if let Some(delay) = self.plan.hedge {
            return delay.min(LONGEST_HEDGE);
        }
        let destination = &witness.destination;
        let known = destination.round_trip().or_else(|| {
            // The SYN is on its way meanwhile. What the kernel does not know is not asked for again.
            let known = cookie_cache::get(None, witness.address().ip()).ok().flatten()?.rtt?;
            destination.set_round_trip(known);
            Some(known)
        });
        known.map_or(UNKNOWN_ROUND_TRIP, |time| (time * 5 / 4 + MARGIN).min(LONGEST_HEDGE))
    }

    /// Makes regular connections beside flows of fast open that are not answered in time.
    fn hedge(&mut self) {
        let now = self.now;
        for index in 0..self.flows.len() {
            if let Some(flow) = self.flows.get_mut(index)
                && flow.hedge_at.is_some_and(|at| at <= now)
            {
                flow.hedge_at = None;
                let witness = &flow.witness;
                let (address, destination) = (witness.address(), witness.destination.clone());
                self.start_regular(address, destination);
            }
        }
    }

    /// Waits until a flow is answered, or until something is due.
    fn wait(&self, next_at: Option<Instant>) -> io::Result<Option<Ready>> {
        let hedges = self.flows.iter().filter_map(|flow| flow.hedge_at);
        let until = hedges.chain(next_at).chain(self.deadline).min();
        let left = until.map(|at| at.saturating_duration_since(self.now));
        let ready = match &self.flows[..] {
            [one] => socket::wait_writable(one.stream.as_fd(), left),
            all => {
                let fds: Vec<_> = all.iter().map(|flow| flow.stream.as_fd()).collect();
                socket::wait_any_writable(&fds, left)
            }
        };
        match ready {
            Ok(None) if self.deadline.is_some_and(|at| at <= Instant::now()) => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
            ready => ready,
        }
    }

    /// Handles a flow whose handshake failed.
    fn lost(&mut self, flow: Flow, e: io::Error) {
        let Flow { stream, mut witness, .. } = flow;
        let address = witness.address();
        self.failure = Some(Error::system("connect", address, e));
        if witness.in_syn > 0 && !self.message.idempotent {
            witness.failed(local_ip(&stream));
        } else if witness.permits() && self.plan.policy == Policy::Try {
            let destination = witness.destination.clone();
            self.refused.push(witness);
            if !self.flows.iter().any(|other| other.witness.address() == address) {
                self.start_regular(address, destination);
            }
        }
    }

    /// Ends the race: records what the outcome says about the paths, and sends the rest of the message.
    fn won(mut self, mut flow: Flow) -> Result<FastOpenStream, DialError> {
        self.learn(&mut flow);
        let Flow { stream, witness, .. } = flow;
        self.flows.clear();
        self.sent |= !self.message.bytes.is_empty();
        let message = [IoSlice::new(self.message.bytes)];
        let sent = connector::send_all(stream.as_fd(), &message, witness.in_syn, self.deadline)
            .and_then(|()| socket::set_nonblocking(&stream, false));
        match sent {
            Ok(()) => Ok(stream),
            Err(e) => {
                self.failure = Some(Error::system("connect", witness.address(), e));
                Err(self.failed())
            }
        }
    }

    fn learn(&mut self, winner: &mut Flow) {
        let (stream, witness) = (&winner.stream, &mut winner.witness);
        witness.answered(self.now, || local_ip(stream), || option::tcp_bits(stream).ok());
        if !witness.permits() {
            // A regular connection has won: what it had beside it was lost.
            let silent = self.flows.iter_mut().map(|flow| &mut flow.witness);
            for beside in self.refused.iter_mut().chain(silent) {
                if beside.address() == witness.address() {
                    beside.failed(local_ip(stream));
                }
            }
        }
    }

    fn failed_by(&mut self, e: io::Error) -> DialError {
        if let Some(flow) = self.flows.first() {
            self.failure = Some(Error::system("connect", flow.witness.address(), e));
        }
        // Nothing else was tried, and its message will not be sent again.
        for flow in &mut self.flows {
            if flow.witness.in_syn > 0 && !self.message.idempotent {
                flow.witness.failed(local_ip(&flow.stream));
            }
        }
        self.failed()
    }

    fn failed(&mut self) -> DialError {
        let timed_out = || Error::system("connect", "", io::ErrorKind::TimedOut.into());
        DialError {
            error: self.failure.take().unwrap_or_else(timed_out),
            maybe_executed: self.sent && !self.message.idempotent,
        }
    }
}

fn local_ip(stream: &FastOpenStream) -> Option<IpAddr> {
    stream.local_addr().ok().map(|local| local.ip())
}
