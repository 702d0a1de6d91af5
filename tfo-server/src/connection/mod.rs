//! One connection: moves bytes between the client's socket and either a session of the service or an upstream.
//!
//! A worker calls [`Connection::drive`] whenever the connection may make progress. Each call is one bounded turn; its
//! result ([`DriveOutcome`]) names what the connection needs next. [`Phase`] records its progress:
//!
//! 1. The client completes the handshake, if `early-data = "await-handshake"`.
//! 2. The header of the proxy is read ([`proxy_header`]), if `proxy-protocol = "required"`.
//! 3. Bytes are read and passed to a [`Session`], whose output is sent; or a [`Relay`] moves them to an upstream and
//!    back.
//! 4. The connection closes: at once, or by a FIN, after which the client's bytes are read and discarded until the
//!    client closes as well or [`LINGER`] has passed.
//!
//! Invariants:
//!
//! 1. The service sees no byte before steps 1 and 2 are complete.
//! 2. Nothing is read while output is unsent, so that a peer that does not read cannot make memory grow.
//! 3. At most `limits.buffer` bytes are held per direction.
//! 4. Bytes of an unfinished request do not extend its deadline.
//! 5. A connection that is closed before it is complete is reset, never closed with a FIN, which would make a truncated
//!    reply look complete ([`Connection::reset_if_incomplete`]).
//! 6. An idle connection holds no buffer. A connection registers with the event loop only when it first has to wait.

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

use leg::{AfterSend, Leg};
use listener::ListenerContext;
use phase::Phase;
use proxy_header::{HeaderProgress, ProxyHeader};
use relay::{Relay, RelayIo};
use send_buffer::SendBuffer;
use turn::{DriveOutcome, InputBuffer, LINGER, TurnBudget, TurnContext, WorkerScratch};

/// A server that is stopping closes an idle keep-alive connection after this time without a request. The next request
/// of a busy client may already be on its way and would find the connection closed.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// A connection being served.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact")]
pub(crate) struct Connection {
    leg: Leg,
    pub(crate) listener: Rc<ListenerContext>,
    responder: Responder,
    pub(crate) peer: SocketAddr,
    /// The PROXY protocol header, if the listener requires one.
    proxy_header: Option<Box<ProxyHeader>>,
    pub(crate) arrival: Option<Box<ArrivalDetails>>,
    /// The verdict on fast open.
    pub(crate) verdict: ArrivalVerdict,
    unsent: Option<Box<SendBuffer>>,
    phase: Phase,
    /// A request has begun: its further bytes do not extend the deadline.
    request_unfinished: bool,
    /// Why the connection is closed gracefully before the session is complete.
    failure: Option<CloseKind>,
    registered: bool,
    /// Counts towards `connections-per-source` of the client's address.
    pub(crate) counted_for_source: bool,
    /// Is in one of the worker's lists of connections to drive.
    pub(crate) queued: bool,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// Produces the bytes for the client.
enum Responder {
    Session(Box<dyn Session>),
    Relay(Box<Relay>),
}

impl Connection {
    /// Creates a connection. `handshake_ended`: whether the handshake is already known to be complete.
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
            request_unfinished: false,
            failure: None,
            registered: false,
            counted_for_source: false,
            queued: false,
            started,
            bytes_in: 0,
            bytes_out: 0,
        };
        connection.open(started);
        connection
    }

    /// Starts to read from the client: first the PROXY header, if one is required.
    fn open(&mut self, now: Instant) {
        let limits = &self.listener.limits;
        (self.phase, self.deadline) = if self.proxy_header.is_some() {
            (Phase::AwaitsHeader, now + limits.header_timeout.get())
        } else {
            (Phase::Open, now + limits.idle_timeout.get())
        };
    }

    /// Returns the client's socket.
    pub(crate) fn into_stream(self) -> FastOpenStream {
        self.leg.into_stream()
    }

    /// Makes the following close send a reset on both legs if a FIN would make truncated data look complete.
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

    /// Defers service until the client has completed the handshake.
    pub(crate) fn await_handshake(&mut self) {
        self.phase = Phase::AwaitsHandshake;
        self.deadline = self.started + self.listener.limits.header_timeout.get();
    }

    /// Moves as many bytes as the sockets and the turn's budget allow. An error ends the connection.
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

    /// Passes what the client sends to the session, and sends the session's output.
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
                    // All output was sent before this read.
                    Ok(0) => {
                        let last = self.session().map_or(&[][..], Session::last_bytes);
                        self.count_sent(self.leg.send(last, AfterSend::Close)?);
                        return Ok(DriveOutcome::Done);
                    }
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

    fn session(&self) -> Option<&dyn Session> {
        match &self.responder {
            Responder::Session(session) => Some(session.as_ref()),
            Responder::Relay(_) => None,
        }
    }

    /// Returns how many bytes may be read: as many as the session may still hold, but at least one.
    fn read_limit(&self) -> usize {
        // A read into an empty buffer would look like end of file.
        let held = self.session().map_or(0, Session::held);
        self.listener.limits.buffer.get().saturating_sub(held).max(1)
    }

    /// Sends the FIN. What the peer still sends is read and discarded for up to [`LINGER`].
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

    /// Reads until the PROXY header is complete.
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

    /// Passes the bytes that followed the header to the service.
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

    pub(crate) fn has_sent_all(&self) -> bool {
        self.unsent.is_none()
    }

    /// Returns whether the client was answered and no byte of another request has arrived.
    fn is_idle(&self) -> bool {
        let served = self.bytes_out > 0 && !self.request_unfinished && self.has_sent_all();
        self.phase == Phase::Open && served && self.session().is_some_and(Session::is_idle)
    }

    /// Makes an idle connection close once it has been idle for [`DRAIN_IDLE`], because the server is stopping. A
    /// request that arrives before is answered, and the answer announces the close.
    pub(crate) fn close_once_idle(&mut self) {
        if self.is_idle() {
            let idle = self.listener.limits.idle_timeout.get();
            self.deadline =
                self.deadline.checked_sub(idle.saturating_sub(DRAIN_IDLE)).unwrap_or(self.deadline);
        }
    }

    /// Passes received bytes to the session, and sends its output.
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
            SessionAction::More if self.request_unfinished => {}
            SessionAction::More | SessionAction::Begun => {
                self.request_unfinished = true;
                self.deadline = *now + limits.header_timeout.get();
            }
            SessionAction::Read
            | SessionAction::Again
            | SessionAction::Close
            | SessionAction::Linger => {
                self.request_unfinished = false;
                self.deadline = *now + limits.idle_timeout.get();
            }
        }
        self.send(&out)
    }

    /// Sends the session's output. What the socket does not accept at once is held.
    fn send(&mut self, out: &SessionOutput) -> io::Result<()> {
        let (sent, unsent) = SendBuffer::send(&self.leg, out, self.phase.after_send())?;
        self.unsent = unsent.map(Box::new);
        self.count_sent(sent);
        Ok(())
    }

    /// Sends more of the unsent output. Returns whether all of it was sent.
    fn flush(&mut self, now: Instant) -> io::Result<bool> {
        let after_send = self.phase.after_send();
        let Some(unsent) = self.unsent.as_deref_mut() else { return Ok(true) };
        let sent = unsent.flush(&self.leg, after_send)?;
        if unsent.is_empty() {
            self.unsent = None;
        }
        if sent > 0 {
            self.count_sent(sent);
            // A peer that accepts output is alive. This does not extend the deadline of a request.
            if !self.request_unfinished {
                self.deadline = now + self.listener.limits.idle_timeout.get();
            }
        }
        Ok(self.unsent.is_none())
    }

    fn count_received(&mut self, len: usize) {
        self.bytes_in = self.bytes_in.saturating_add(len as u64);
        self.listener.stats.add(Count::BytesIn, len as u64);
    }

    /// Adds what a relay has moved since the last call.
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

    /// Handles the deadline. Returns the limit that was reached, or `None` if the connection needs another turn.
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
            _ if self.request_unfinished => self.request_timed_out(turn),
            _ => Some(self.failure.unwrap_or(CloseKind::IdleTimeout)),
        }
    }

    /// Sends the session's answer to an overdue request and closes gracefully, because unread bytes would turn the FIN
    /// into a reset, which could overtake the answer. Without an answer the connection is closed at once.
    fn request_timed_out(&mut self, turn: &mut TurnContext) -> Option<CloseKind> {
        let reason = Some(CloseKind::HeaderTimeout);
        let Responder::Session(session) = &mut self.responder else { return reason };
        let mut out = turn.out.lend();
        // Behind output that the peer does not read, this answer would not arrive either.
        if self.unsent.is_some() || !session.timed_out(&mut out, &turn.date) {
            return reason;
        }
        self.failure = reason;
        self.request_unfinished = false;
        self.phase = Phase::ShuttingDown;
        self.deadline = turn.now + LINGER;
        if self.send(&out).is_ok() { None } else { reason }
    }

    /// Records an event on the client's socket, or on the upstream's if `of_upstream`.
    pub(crate) fn event(&mut self, of_upstream: bool, event: &Event) {
        if let Responder::Relay(relay) = &mut self.responder {
            relay.event(of_upstream, event);
        }
    }

    /// Registers for the events that the connection waits for. Many connections end before they need this.
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

    /// Returns why the client was not served, or not completely, if no socket error explains it.
    pub(crate) fn failure(&self) -> Option<CloseKind> {
        match &self.responder {
            Responder::Relay(relay) => relay.failure(),
            Responder::Session(_) => self.failure,
        }
    }

    /// Returns the address to which limits apply: the client's address if a proxy named it, else the peer's.
    pub(crate) fn source(&self) -> IpAddr {
        self.client().unwrap_or(self.peer).ip()
    }

    /// Returns the client's address, if a proxy named it.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        Some(self.proxy_header.as_ref()?.addresses?.source)
    }

    /// Returns the upstream of the connection.
    pub(crate) fn upstream(&self) -> Option<SocketAddr> {
        match &self.responder {
            Responder::Relay(relay) => relay.upstream(),
            Responder::Session(_) => None,
        }
    }
}
