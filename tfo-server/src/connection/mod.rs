//! One connection: its bytes between the client's socket and a session of the service, or its upstream.
//!
//! 1. The service sees no byte before the client has completed the handshake (`early-data = "await-handshake"`)
//!    and before a proxy's header is complete (`proxy-protocol = "required"`).
//! 2. Nothing more is read while an answer waits to be sent: a peer that does not read can't make memory grow.
//! 3. At most `limits.buffer` bytes are held, each way.
//! 4. The bytes of a request that has begun do not put off its deadline.
//! 5. A connection that is closed before it is done ends with a reset, never with a FIN that makes a part look
//!    whole ([`Connection::reset_if_incomplete`]).
//! 6. An idle connection holds no buffer, and is registered with the event loop only once it has to wait.

pub(crate) mod budget;
mod leg;
pub(crate) mod listener;
mod phase;
pub(crate) mod pipes;
mod proxy_header;
mod relay;
mod send_buffer;
pub(crate) mod turn;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use tfo_core::socket::FastOpenStream;

use crate::arrival::{ArrivalDetails, ArrivalVerdict};
use crate::close_reason::CloseKind;
use crate::metrics::stats::Count;
use crate::service::proxy_protocol::ProxiedAddresses;
use crate::service::{Service, Session, SessionAction, SessionContext, SessionOutput};

use leg::Leg;
use listener::ListenerContext;
use phase::Phase;
use proxy_header::{HeaderProgress, ProxyHeader};
use relay::{Relay, RelayIo};
use send_buffer::SendBuffer;
use turn::{DriveOutcome, InputBuffer, LINGER, TurnBudget, TurnContext, WorkerScratch};

/// How long a kept connection must have been idle before a server that stops closes its
/// connection: the next request of a busy client is on its way, and would find the connection closed.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// A connection being served.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Connection {
    leg: Leg,
    pub(crate) listener: Rc<ListenerContext>,
    responder: Responder,
    pub(crate) peer: SocketAddr,
    /// Where a proxy stands before this server.
    proxy_header: Option<Box<ProxyHeader>>,
    pub(crate) arrival: Option<Box<ArrivalDetails>>,
    /// What its arrival tells.
    pub(crate) verdict: ArrivalVerdict,
    unsent: Option<Box<SendBuffer>>,
    phase: Phase,
    /// A request has begun: its bytes do not put off the deadline.
    unfinished: bool,
    /// Why the connection is closed gracefully before the session is done.
    failure: Option<CloseKind>,
    registered: bool,
    /// Counts for its client's address.
    pub(crate) counted: bool,
    /// Is in the worker's list of connections to drive.
    pub(crate) queued: bool,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// Who answers.
enum Responder {
    Session(Box<dyn Session>),
    Relay(Box<Relay>),
}

impl Connection {
    /// `handshake_ended`: whether that is known already.
    pub(crate) fn new(
        stream: FastOpenStream,
        handshake_ended: bool,
        peer: SocketAddr,
        listener: Rc<ListenerContext>,
        started: Instant,
    ) -> Self {
        let responder = match &listener.service {
            Service::Forward(forward) => {
                Responder::Relay(Box::new(Relay::new(Arc::clone(forward))))
            }
            service => Responder::Session(service.session()),
        };
        let mut connection = Self {
            leg: Leg::new(stream, handshake_ended),
            responder,
            deadline: started,
            proxy_header: listener.expects_header.then(Box::default),
            listener,
            peer,
            arrival: None,
            verdict: ArrivalVerdict::NotLookedAt,
            unsent: None,
            phase: Phase::Open,
            unfinished: false,
            failure: None,
            registered: false,
            counted: false,
            queued: false,
            started,
            bytes_in: 0,
            bytes_out: 0,
        };
        connection.open(started);
        connection
    }

    /// The client may be heard from now on.
    fn open(&mut self, now: Instant) {
        let limits = &self.listener.limits;
        (self.phase, self.deadline) = if self.proxy_header.is_some() {
            (Phase::AwaitsHeader, now + limits.header_timeout.get())
        } else {
            (Phase::Open, now + limits.idle_timeout.get())
        };
    }

    /// What is left when it is over.
    pub(crate) fn into_stream(self) -> FastOpenStream {
        self.leg.into_stream()
    }

    /// Makes the close that follows a reset, on both legs, where a FIN would make a part look whole.
    pub(crate) fn reset_if_incomplete(&self) {
        match &self.responder {
            Responder::Relay(relay) => relay.reset_if_incomplete(&self.leg),
            Responder::Session(_) => {
                if self.unsent.is_some() || self.leg.has_unsent() {
                    self.leg.reset_on_close();
                }
            }
        }
    }

    /// Serves it only once its client has completed the handshake.
    pub(crate) fn await_handshake(&mut self) {
        self.phase = Phase::AwaitsHandshake;
        self.deadline = self.started + self.listener.limits.header_timeout.get();
    }

    /// Moves as many bytes as the socket and fairness allow. An error ends the connection.
    pub(crate) fn drive(&mut self, scratch: &mut WorkerScratch) -> io::Result<DriveOutcome> {
        match self.phase {
            Phase::AwaitsHandshake => {
                if !self.leg.handshake_ended().map_err(io::Error::other)? {
                    return Ok(DriveOutcome::Wait);
                }
                self.open(scratch.turn.now);
                if self.phase == Phase::AwaitsHeader {
                    return self.read_header(&mut scratch.input);
                }
            }
            Phase::AwaitsHeader => return self.read_header(&mut scratch.input),
            Phase::ClientKnown => self.start_after_header(&mut scratch.turn)?,
            _ => {}
        }
        match self.responder {
            Responder::Relay(_) => self.relay(scratch),
            Responder::Session(_) => self.serve(scratch),
        }
    }

    /// Reads and answers.
    fn serve(&mut self, scratch: &mut WorkerScratch) -> io::Result<DriveOutcome> {
        let WorkerScratch { input, turn } = scratch;
        let mut budget = TurnBudget::new();
        loop {
            if !self.flush(turn.now)? {
                return Ok(DriveOutcome::Wait);
            }
            let mut read = input.lend(self.read_limit());
            match self.phase {
                Phase::Closing => return Ok(DriveOutcome::Done),
                _ if budget.is_spent() => return Ok(DriveOutcome::Again),
                Phase::HasInput => {}
                Phase::ShuttingDown => {
                    self.shutdown(Phase::Lingering, turn.now)?;
                    continue;
                }
                _ => match read.read(|memory| self.leg.read(memory)) {
                    // All that was to be sent has left.
                    Ok(0) => return Ok(DriveOutcome::Done),
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                    Err(_) if self.phase == Phase::LastRead => {
                        self.shutdown(Phase::LingeringIdle, turn.now)?;
                        continue;
                    }
                    Err(_) => return Ok(DriveOutcome::Wait),
                },
            }
            let bytes = read.bytes();
            self.count_received(bytes.len());
            let before = self.bytes_out;
            match self.phase {
                Phase::Lingering => {}
                Phase::LingeringIdle => self.failure = Some(CloseKind::RequestTooLate),
                _ => self.pass_to_session(bytes, turn)?,
            }
            let sent = usize::try_from(self.bytes_out - before).unwrap_or(usize::MAX);
            budget.spend(bytes.len().saturating_add(sent));
        }
    }

    /// How much may be read: the session may hold that much more. One that holds all that it may reads no more.
    fn read_limit(&self) -> usize {
        let held = match &self.responder {
            Responder::Session(session) => session.held(),
            Responder::Relay(_) => 0,
        };
        // Reading into nothing would look like the end.
        self.listener.limits.buffer.get().saturating_sub(held).max(1)
    }

    /// Closes this half; the rest of what the peer sends is read for a while.
    fn shutdown(&mut self, next: Phase, now: Instant) -> io::Result<()> {
        self.leg.shutdown()?;
        self.phase = next;
        self.deadline = now + LINGER;
        Ok(())
    }

    /// Moves bytes between the client and its upstream.
    fn relay(&mut self, scratch: &mut WorkerScratch) -> io::Result<DriveOutcome> {
        let Responder::Relay(relay) = &mut self.responder else { return Ok(DriveOutcome::Done) };
        let WorkerScratch { input, turn } = scratch;
        let (client, deadline) = (&self.leg, &mut self.deadline);
        let header = self.proxy_header.as_deref();
        let proxied = header.and_then(|header| header.addresses);
        let extensions = header.map(ProxyHeader::extensions).unwrap_or_default();
        let addresses = || match proxied {
            Some(addresses) => Ok(addresses),
            None => Ok(ProxiedAddresses { source: self.peer, destination: client.local_addr()? }),
        };
        let mut input = input.lend(self.listener.limits.buffer.get());
        let mut io = RelayIo { client, input: &mut input, turn, deadline, extensions };
        let outcome = relay.drive(&mut io, addresses);
        let (bytes_in, bytes_out) = relay.bytes();
        self.count_relayed(bytes_in, bytes_out);
        outcome
    }

    /// Reads until the proxy's header is complete.
    fn read_header(&mut self, input: &mut InputBuffer) -> io::Result<DriveOutcome> {
        let Some(header) = self.proxy_header.as_deref_mut() else { return Ok(DriveOutcome::Done) };
        let forward = self.listener.service.forward();
        let keeps_extensions = forward.is_some_and(|forward| forward.sends_extensions());
        Ok(match header.read(&self.leg, input, keeps_extensions)? {
            HeaderProgress::Partial => DriveOutcome::Wait,
            HeaderProgress::Closed => DriveOutcome::Done,
            HeaderProgress::Complete => {
                self.phase = Phase::ClientKnown;
                DriveOutcome::ClientKnown
            }
        })
    }

    /// Gives the service what came behind the header.
    fn start_after_header(&mut self, turn: &mut TurnContext) -> io::Result<()> {
        self.phase = Phase::Open;
        self.deadline = turn.now + self.listener.limits.idle_timeout.get();
        let header = self.proxy_header.as_deref_mut();
        let rest = header.map(ProxyHeader::take_rest).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        match &mut self.responder {
            Responder::Relay(relay) => relay.put_first(rest),
            Responder::Session(_) => {
                self.count_received(rest.len());
                self.pass_to_session(&rest, turn)?;
            }
        }
        Ok(())
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn has_sent_all(&self) -> bool {
        self.unsent.is_none()
    }

    /// Whether its client was answered, and nothing of another request has come.
    fn is_idle(&self) -> bool {
        let served = self.bytes_out > 0 && !self.unfinished && self.unsent.is_none();
        let is_idle = match &self.responder {
            Responder::Session(session) => session.is_idle(),
            Responder::Relay(_) => false,
        };
        self.phase == Phase::Open && served && is_idle
    }

    /// The server stops: if the connection is idle it ends once it has been idle for [`DRAIN_IDLE`]. A client that
    /// asks before is answered, and told that it was the last answer.
    pub(crate) fn close_once_idle(&mut self) {
        if self.is_idle() {
            let idle = self.listener.limits.idle_timeout.get();
            self.deadline =
                self.deadline.checked_sub(idle.saturating_sub(DRAIN_IDLE)).unwrap_or(self.deadline);
        }
    }

    /// Gives the session what was read, and sends what it returns.
    fn pass_to_session(&mut self, bytes: &[u8], turn: &mut TurnContext) -> io::Result<()> {
        let Responder::Session(session) = &mut self.responder else { return Ok(()) };
        let TurnContext { out, date, now, ending, .. } = turn;
        let mut out = out.lend();
        let (listener, arrival) = (&self.listener, &mut self.arrival);
        let mut evidence =
            || Some(arrival.as_deref_mut()?.evidence_with_counters(&listener.observer));
        let mut context = SessionContext {
            respond: listener.service.respond(),
            buffer: listener.limits.buffer.get(),
            date,
            ending: *ending,
            evidence: &mut evidence,
        };
        let next = session.received(bytes, &mut out, &mut context);
        self.phase = match next {
            SessionAction::Read | SessionAction::More | SessionAction::Begun => Phase::Open,
            SessionAction::Again => Phase::HasInput,
            SessionAction::Close => Phase::Closing,
            SessionAction::Linger => Phase::ShuttingDown,
        };
        let limits = &self.listener.limits;
        match next {
            SessionAction::More if self.unfinished => {}
            SessionAction::More | SessionAction::Begun => {
                self.unfinished = true;
                self.deadline = *now + limits.header_timeout.get();
            }
            SessionAction::Read
            | SessionAction::Again
            | SessionAction::Close
            | SessionAction::Linger => {
                self.unfinished = false;
                self.deadline = *now + limits.idle_timeout.get();
            }
        }
        self.send(&out)
    }

    /// Sends what a session has put into `out`; what does not leave at once is held.
    fn send(&mut self, out: &SessionOutput) -> io::Result<()> {
        let (sent, unsent) = SendBuffer::send(&self.leg, out, self.phase.after_send())?;
        self.unsent = unsent.map(Box::new);
        self.count_sent(sent);
        Ok(())
    }

    /// Sends more of what is unsent. Returns whether all of it has left.
    fn flush(&mut self, now: Instant) -> io::Result<bool> {
        let after_send = self.phase.after_send();
        let Some(unsent) = self.unsent.as_deref_mut() else { return Ok(true) };
        let sent = unsent.flush(&self.leg, after_send)?;
        if unsent.is_empty() {
            self.unsent = None;
        }
        if sent > 0 {
            self.count_sent(sent);
            // A peer that takes what is sent is alive; that does not give a request more time.
            if !self.unfinished {
                self.deadline = now + self.listener.limits.idle_timeout.get();
            }
        }
        Ok(self.unsent.is_none())
    }

    fn count_received(&mut self, len: usize) {
        self.bytes_in = self.bytes_in.saturating_add(len as u64);
        self.listener.stats.add(Count::BytesIn, len as u64);
    }

    /// What a relay has moved so far.
    fn count_relayed(&mut self, bytes_in: u64, bytes_out: u64) {
        let stats = &self.listener.stats;
        stats.add(Count::BytesIn, bytes_in.saturating_sub(self.bytes_in));
        stats.add(Count::BytesOut, bytes_out.saturating_sub(self.bytes_out));
        (self.bytes_in, self.bytes_out) = (bytes_in, bytes_out);
    }

    fn count_sent(&mut self, len: usize) {
        self.bytes_out = self.bytes_out.saturating_add(len as u64);
        self.listener.stats.add(Count::BytesOut, len as u64);
    }

    /// Returns which limit has been reached at the deadline; `None`: the connection has another turn.
    pub(crate) fn on_deadline(&mut self, turn: &mut TurnContext) -> Option<CloseKind> {
        if turn.ending && self.is_idle() {
            self.phase = Phase::LastRead;
            return None;
        }
        match (self.phase, &mut self.responder) {
            (Phase::AwaitsHandshake, _) => Some(CloseKind::HandshakeTimeout),
            (Phase::AwaitsHeader, _) => Some(CloseKind::HeaderTimeout),
            (Phase::Lingering | Phase::LingeringIdle, _) => {
                Some(self.failure.unwrap_or(CloseKind::LingerTimeout))
            }
            (_, Responder::Relay(relay)) => relay.on_deadline(),
            _ if self.unfinished => self.request_timed_out(turn),
            _ => Some(self.failure.unwrap_or(CloseKind::IdleTimeout)),
        }
    }

    /// Sends the session's answer to a request that is late, and then closes gracefully: unread bytes
    /// would turn the FIN into a reset, which overtakes the answer. Without an answer the connection is
    /// closed at once.
    fn request_timed_out(&mut self, turn: &mut TurnContext) -> Option<CloseKind> {
        let reason = Some(CloseKind::HeaderTimeout);
        let Responder::Session(session) = &mut self.responder else { return reason };
        let mut out = turn.out.lend();
        // Behind an answer that the peer does not read, this one would not arrive either.
        if self.unsent.is_some() || !session.timed_out(&mut out, &turn.date) {
            return reason;
        }
        self.failure = reason;
        self.unfinished = false;
        self.phase = Phase::ShuttingDown;
        self.deadline = turn.now + LINGER;
        if self.send(&out).is_ok() { None } else { reason }
    }

    /// An event on its own socket, or on that towards the upstream.
    pub(crate) fn event(&mut self, of_upstream: bool, event: &Event) {
        if let Responder::Relay(relay) = &mut self.responder {
            relay.event(of_upstream, event);
        }
    }

    /// Asks for the events that it waits for. Many connections end before they need one.
    pub(crate) fn register(&mut self, registry: &Registry, tokens: [Token; 2]) -> io::Result<()> {
        match &mut self.responder {
            Responder::Relay(relay) => relay.register(registry, &self.leg, tokens),
            Responder::Session(_) if self.registered => Ok(()),
            Responder::Session(_) => {
                self.registered = true;
                let fd = self.leg.as_fd().as_raw_fd();
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut SourceFd(&fd), tokens[0], interest)
            }
        }
    }

    /// Why its client was not served, or not to the end, where no error of the socket says so.
    pub(crate) fn failure(&self) -> Option<CloseKind> {
        match &self.responder {
            Responder::Relay(relay) => relay.failure(),
            Responder::Session(_) => self.failure,
        }
    }

    /// The address that counts: the client's own where a proxy has named it.
    pub(crate) fn source(&self) -> IpAddr {
        self.client().unwrap_or(self.peer).ip()
    }

    /// The client's own address, where a proxy has told it.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        Some(self.proxy_header.as_ref()?.addresses?.source)
    }

    /// The upstream that it was handed to.
    pub(crate) fn upstream(&self) -> Option<SocketAddr> {
        match &self.responder {
            Responder::Relay(relay) => relay.upstream(),
            Responder::Session(_) => None,
        }
    }
}
