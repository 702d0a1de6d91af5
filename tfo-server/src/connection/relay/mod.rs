//! Moves bytes between a client and an upstream.
//!
//! [`Relay::drive`] is called at each turn of the client's connection. Its phases ([`RelayPhase`]):
//!
//! 1. `New`: reads the client's first bytes, waiting at most [`RETRIES`] turns, and connects to an upstream. With
//!    fast open, a PROXY header and the first bytes go into the SYN.
//! 2. `Connecting`: moves bytes as soon as the sockets allow. If the upstream fails, tries the next one (invariant 1).
//! 3. `Open`: moves bytes in both [`Direction`]s until both are over.
//! 4. `Ending`: without an upstream, sends a FIN to the client and discards what the client still sends.
//!
//! Invariants:
//!
//! 1. No byte of the client's is sent to two upstreams ([`RelayPhase::Connecting`], and `service::forward`).
//! 2. Bytes that one side sent before its end or its error are passed on before that end is.
//! 3. A FIN is sent only after all bytes. If bytes are missing, the other side gets a reset.
//! 4. A relay holds only bytes that a sink did not accept; reads use the worker's buffer.
//! 5. A new relay is retried at the next turns before it registers for events. Under load the answer has
//!    arrived by then, and a one-shot exchange needs no event at all.

mod direction;
mod socket;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Registry, Token};
use tfo_core::cli::error_chain;
use tfo_core::socket::Attempt;
use tfo_core::socket::TcpState;

use super::leg::Leg;
use super::turn::{DriveOutcome, LINGER, LentInput, TurnBudget, TurnContext};
use crate::close_reason::CloseKind;
use crate::service::forward::{Forward, UpstreamGuard, is_local_failure};
use crate::service::proxy_protocol::{Extensions, ProxiedAddresses};

use direction::{Direction, PumpError, PumpScratch};
use socket::{Endpoint, Readiness, SocketState};

/// For how many turns a socket is retried before it is registered for events.
const RETRIES: u8 = 2;
/// Data in a SYN that is answered later than this may have been lost: after one second the kernel retransmits the SYN
/// without data.
const SLOW_HANDSHAKE: Duration = Duration::from_millis(900);

/// The upstream half of a connection.
pub(super) struct Relay {
    forward: Arc<Forward>,
    phase: RelayPhase,
    upstream: Option<UpstreamLeg>,
    client: SocketState,
    to_upstream: Direction,
    to_client: Direction,
    /// Length of our PROXY header at the start of the first bytes.
    header: usize,
    /// For how many more turns the relay is retried without an event.
    retries: u8,
    /// Why the client received no answer, or not all of it.
    failure: Option<CloseKind>,
}

struct UpstreamLeg {
    leg: Leg,
    guard: UpstreamGuard,
    socket: SocketState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RelayPhase {
    /// Nothing was read yet.
    New,
    Connecting {
        /// The SYN carried data.
        syn_data: bool,
        /// No byte of the client's was sent.
        replayable: bool,
        timed_out: bool,
    },
    Open,
    /// No upstream is left, and a FIN was sent to the client: reads until the client closes.
    Ending,
}

/// The resources that a connection lends to its relay. `'b` is the lifetime of the worker's buffer.
pub(super) struct RelayIo<'a, 'b> {
    pub(super) client: &'a Leg,
    pub(super) deadline: &'a mut Instant,
    /// As large as the number of bytes that may be held per direction.
    pub(super) input: &'a mut LentInput<'b>,
    pub(super) turn: &'a mut TurnContext,
    /// The extensions of the PROXY header that the client's connection began with.
    pub(super) extensions: Extensions<'a>,
}

/// The result of moving bytes in both directions.
struct Pumped {
    /// More bytes can be moved at once.
    again: bool,
    upstream_failed: Option<io::Error>,
}

impl Relay {
    pub(super) fn new(forward: Arc<Forward>) -> Self {
        Self {
            forward,
            phase: RelayPhase::New,
            upstream: None,
            client: SocketState::NEW,
            to_upstream: Direction::new(false),
            // `TCP_NODELAY` is already set, inherited from the listener.
            to_client: Direction::new(true),
            header: 0,
            retries: RETRIES,
            failure: None,
        }
    }

    /// Accepts the client's first bytes, which were read together with the PROXY header.
    pub(super) fn put_first(&mut self, bytes: Vec<u8>) {
        self.to_upstream.bytes_in += bytes.len() as u64;
        self.to_upstream.hold(bytes, 0);
    }

    /// Returns how many bytes were received from the client and sent to it.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.to_upstream.bytes_in, self.to_client.bytes_out)
    }

    /// Returns why the client received no answer, or not all of it.
    pub(super) fn failure(&self) -> Option<CloseKind> {
        self.failure
    }

    /// Handles the deadline. Returns the limit that was reached, or `None` if the relay needs another turn.
    pub(super) fn on_deadline(&mut self) -> Option<CloseKind> {
        match &mut self.phase {
            RelayPhase::Connecting { timed_out, .. } => {
                *timed_out = true;
                None
            }
            RelayPhase::Ending => Some(self.failure.unwrap_or(CloseKind::NoUpstream)),
            RelayPhase::New | RelayPhase::Open => Some(CloseKind::IdleTimeout),
        }
    }

    pub(super) fn event(&mut self, of_upstream: bool, event: &Event) {
        match &mut self.upstream {
            Some(upstream) if of_upstream => {
                upstream.socket.event(event);
                upstream.socket.ready.connected |= event.is_writable() && !event.is_error();
            }
            _ => self.client.event(event),
        }
    }

    /// Returns the address of the upstream.
    pub(super) fn upstream(&self) -> Option<SocketAddr> {
        self.upstream.as_ref().map(|upstream| upstream.guard.address())
    }

    /// Registers for the events that the relay waits for.
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        client: &Leg,
        tokens: [Token; 2],
    ) -> io::Result<()> {
        let [client_token, upstream_token] = tokens;
        let write = !self.client.ready.writable;
        self.client.register(registry, client, client_token, write)?;
        let connecting = matches!(self.phase, RelayPhase::Connecting { syn_data: false, .. });
        if let Some(UpstreamLeg { leg, socket, .. }) = &mut self.upstream {
            // A shutdown that was deferred follows once the upstream is connected.
            let end = self.to_upstream.is_ending() && !socket.ready.connected;
            let write = connecting || end || !socket.ready.writable;
            socket.register(registry, leg, upstream_token, write)?;
        }
        Ok(())
    }

    /// Moves as many bytes as the sockets and the turn's budget allow. An error ends both connections.
    pub(super) fn drive(
        &mut self,
        io: &mut RelayIo<'_, '_>,
        addresses: impl Fn() -> io::Result<ProxiedAddresses>,
    ) -> io::Result<DriveOutcome> {
        match self.phase {
            RelayPhase::New => self.start(io, addresses),
            RelayPhase::Connecting { timed_out: true, .. } => self.check_handshake(io),
            RelayPhase::Connecting { .. } | RelayPhase::Open => self.exchange(io),
            RelayPhase::Ending => discard(io),
        }
    }

    /// Makes the following close send resets on both sides if a FIN would make truncated data look complete.
    pub(super) fn reset_if_incomplete(&self, client: &Leg) {
        let Some(UpstreamLeg { leg, .. }) = &self.upstream else { return };
        let is_part = |direction: &Direction| direction.bytes_in > 0 && !direction.is_over();
        let parts = is_part(&self.to_upstream) || is_part(&self.to_client);
        if parts || client.has_unsent() || leg.has_unsent() {
            client.reset_on_close();
            leg.reset_on_close();
        }
    }

    /// Reads the client's first bytes, and starts to connect to an upstream with them.
    fn start(
        &mut self,
        io: &mut RelayIo<'_, '_>,
        addresses: impl Fn() -> io::Result<ProxiedAddresses>,
    ) -> io::Result<DriveOutcome> {
        let mut client = Endpoint { leg: io.client, ready: &mut self.client.ready };
        self.to_upstream.read_first(&mut client, io.input)?;
        if self.to_upstream.bytes_in == 0 && self.to_upstream.is_open() && self.retries > 0 {
            // The first bytes of a regular client follow its handshake immediately. The wait is short, because in many
            // protocols the server speaks first.
            self.retries -= 1;
            self.client.ready.readable = true;
            return Ok(DriveOutcome::Again);
        }
        self.retries = RETRIES;
        // The worker's output buffer, so that a header needs no allocation.
        let mut out = io.turn.out.lend();
        if self.forward.sends_header() {
            self.forward.header(addresses()?, io.extensions, &mut out.bytes);
            self.header = out.bytes.len();
        }
        out.bytes.extend_from_slice(&self.to_upstream.take_unsent());
        let first = if out.bytes.is_empty() {
            io.input.bytes()
        } else {
            out.bytes.extend_from_slice(io.input.bytes());
            &out.bytes
        };
        let connected = self.connect(self.forward.choose(), first);
        drop(out);
        self.note_connect(io, connected)
    }

    /// Records that a connection attempt has begun, or gives up.
    fn note_connect(
        &mut self,
        io: &mut RelayIo<'_, '_>,
        connected: Result<(), CloseKind>,
    ) -> io::Result<DriveOutcome> {
        match connected {
            Ok(()) => {
                *io.deadline = io.turn.now + self.forward.settings.connect_timeout.get();
                Ok(self.wait())
            }
            Err(kind) => self.give_up(io, kind),
        }
    }

    /// Starts to connect to the given upstream, or, if that fails at once, to the next one.
    fn connect(&mut self, mut guard: Option<UpstreamGuard>, first: &[u8]) -> Result<(), CloseKind> {
        loop {
            let mut upstream = guard.ok_or(CloseKind::NoUpstream)?;
            let stream = match self.forward.connect(&mut upstream, first, self.header) {
                Ok(stream) => stream,
                Err(e) if is_local_failure(&e) => {
                    self.forward.log_no_socket(&e);
                    return Err(CloseKind::NoSocket);
                }
                Err(e) => {
                    upstream.failed(&error_chain(&e), false);
                    guard = upstream.next();
                    continue;
                }
            };
            let sent = if let Some(Attempt::InSyn(bytes)) = stream.attempt() { bytes } else { 0 };
            let replayable = sent <= self.header;
            if replayable {
                self.to_upstream.hold(first.to_vec(), sent);
            } else if let Some(rest) = first.get(sent..).filter(|rest| !rest.is_empty()) {
                self.to_upstream.hold(rest.to_vec(), 0);
            }
            self.phase =
                RelayPhase::Connecting { syn_data: sent > 0, replayable, timed_out: false };
            // The SYN is not answered yet.
            let ready = Readiness { readable: false, connected: false, ..Readiness::NEW };
            let socket = SocketState { ready, interest: None };
            // A shutdown is deferred only on accepted sockets, not on connecting ones.
            self.upstream =
                Some(UpstreamLeg { leg: Leg::new(stream, true), guard: upstream, socket });
            return Ok(());
        }
    }

    /// Checks the state of the handshake when the connect timeout has passed.
    fn check_handshake(&mut self, io: &mut RelayIo<'_, '_>) -> io::Result<DriveOutcome> {
        let Some(upstream) = &self.upstream else { return Ok(DriveOutcome::Done) };
        let info = upstream.leg.stream().info();
        if info.is_ok_and(|info| info.state != TcpState::SynSent) {
            // Connected: an upstream that takes long to answer gives no other sign.
            if let Some(upstream) = &mut self.upstream {
                upstream.socket.ready.connected = true;
            }
            self.connected(io);
            return self.exchange(io);
        }
        let timeout = self.forward.settings.connect_timeout.get();
        self.failed(io, &format_args!("no answer within {timeout:?}"))
    }

    /// Handles an upstream that cannot be reached: tries the next one, unless it may have received bytes of the
    /// client's.
    fn failed(&mut self, io: &mut RelayIo<'_, '_>, why: &dyn Display) -> io::Result<DriveOutcome> {
        let Some(UpstreamLeg { mut guard, .. }) = self.upstream.take() else {
            return Ok(DriveOutcome::Done);
        };
        let RelayPhase::Connecting { syn_data, replayable, .. } = self.phase else {
            return Ok(DriveOutcome::Done);
        };
        guard.failed(why, syn_data);
        if !replayable {
            return self.give_up(io, CloseKind::UpstreamLost);
        }
        let first = self.to_upstream.take_unsent();
        self.retries = RETRIES;
        // If the SYN carried data, the same upstream is tried with a regular connection, which shows whether the data
        // was the cause.
        let next = if syn_data { Some(guard) } else { guard.next() };
        let connected = self.connect(next, &first);
        self.note_connect(io, connected)
    }

    fn connected(&mut self, io: &mut RelayIo<'_, '_>) {
        let (Some(upstream), RelayPhase::Connecting { syn_data, .. }) =
            (&mut self.upstream, self.phase)
        else {
            return;
        };
        upstream.guard.succeeded();
        let settings = &self.forward.settings;
        let left = io.deadline.saturating_duration_since(io.turn.now);
        let slow = settings.connect_timeout.get().saturating_sub(left) >= SLOW_HANDSHAKE;
        // The time only decides whether to ask the kernel, which reports what happened.
        if syn_data
            && (slow || upstream.guard.is_trial())
            && let Ok(info) = upstream.leg.stream().info()
        {
            upstream.guard.syn_data_answered(&info);
        }
        self.phase = RelayPhase::Open;
        *io.deadline = io.turn.now + settings.idle_timeout.get();
    }

    /// Moves bytes in both directions.
    fn exchange(&mut self, io: &mut RelayIo<'_, '_>) -> io::Result<DriveOutcome> {
        let before = self.to_upstream.moved() + self.to_client.moved();
        let Some(Pumped { again, upstream_failed }) = self.pump(io)? else {
            return Ok(DriveOutcome::Done);
        };
        if let Some(e) = upstream_failed {
            return self.upstream_failed(io, &e);
        }
        if self.upstream.as_ref().is_some_and(|upstream| upstream.socket.ready.connected) {
            self.connected(io);
        }
        if self.to_upstream.moved() + self.to_client.moved() > before {
            self.retries = RETRIES;
            if self.phase == RelayPhase::Open {
                *io.deadline = io.turn.now + self.forward.settings.idle_timeout.get();
            }
        }
        if self.to_upstream.is_over() && self.to_client.is_over() {
            return self.finish(io);
        }
        Ok(if again { DriveOutcome::Again } else { self.wait() })
    }

    /// Moves bytes to the client, then to the upstream. Returns `None` if there is no upstream.
    fn pump(&mut self, io: &mut RelayIo<'_, '_>) -> io::Result<Option<Pumped>> {
        let Some(UpstreamLeg { leg, socket, .. }) = &mut self.upstream else { return Ok(None) };
        let written = self.to_upstream.bytes_out;
        let mut scratch = PumpScratch { input: &mut *io.input, pipes: &mut io.turn.pipes };
        let mut pumped = Pumped { again: false, upstream_failed: None };

        let last = self.to_upstream.is_over();
        let upstream = Endpoint { leg, ready: &mut socket.ready };
        let client = Endpoint { leg: io.client, ready: &mut self.client.ready };
        match self.to_client.pump(upstream, client, &mut scratch, last) {
            Ok(more) => pumped.again |= more,
            Err(PumpError::Source(e)) => pumped.upstream_failed = Some(e),
            Err(PumpError::Sink(_)) => {
                // Bytes that the client sent before are still passed on, then its end.
                self.to_client.abandon();
                self.client.ready = Readiness { broken: true, ..Readiness::NEW };
            }
        }
        socket.ready.connected |= self.to_client.bytes_in > 0 || !self.to_client.is_open();

        let last = self.to_client.is_over();
        let upstream = Endpoint { leg, ready: &mut socket.ready };
        let client = Endpoint { leg: io.client, ready: &mut self.client.ready };
        if pumped.upstream_failed.is_none() {
            match self.to_upstream.pump(client, upstream, &mut scratch, last) {
                Ok(more) => pumped.again |= more,
                Err(PumpError::Source(e)) => {
                    leg.reset_on_close();
                    return Err(e);
                }
                Err(PumpError::Sink(e)) if is_answer_to_syn(&e) => {
                    pumped.upstream_failed = Some(e);
                }
                Err(PumpError::Sink(_)) => {
                    // The upstream may have answered before: that answer is still passed on.
                    self.to_upstream.abandon();
                    socket.ready = Readiness { broken: true, ..Readiness::NEW };
                    pumped.again = true;
                }
            }
        }
        socket.ready.connected |= self.to_upstream.bytes_out > written;
        Ok(Some(pumped))
    }

    /// Handles an error of the upstream's socket.
    fn upstream_failed(
        &mut self,
        io: &mut RelayIo<'_, '_>,
        e: &io::Error,
    ) -> io::Result<DriveOutcome> {
        if matches!(self.phase, RelayPhase::Connecting { .. }) && is_answer_to_syn(e) {
            return self.failed(io, e);
        }
        // A FIN would make the answer look complete.
        io.client.reset_on_close();
        self.failure = Some(CloseKind::UpstreamReset);
        Err(io::Error::from(e.kind()))
    }

    /// Ends the relay: both directions are over.
    fn finish(&mut self, io: &RelayIo<'_, '_>) -> io::Result<DriveOutcome> {
        let upstream = self.upstream.as_ref();
        if upstream.is_some_and(|upstream| upstream.socket.ready.broken) {
            io.client.reset_on_close();
            self.failure = Some(CloseKind::UpstreamReset);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.client.ready.broken {
            if let Some(upstream) = upstream {
                upstream.leg.reset_on_close();
            }
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(DriveOutcome::Done)
    }

    /// Returns `Again` while retries are left, else `Wait`.
    fn wait(&mut self) -> DriveOutcome {
        let expected = match &mut self.upstream {
            Some(upstream) if !self.to_client.is_over() => &mut upstream.socket,
            _ => &mut self.client,
        };
        if expected.interest.is_some() || self.retries == 0 {
            return DriveOutcome::Wait;
        }
        self.retries -= 1;
        expected.ready.readable = true;
        DriveOutcome::Again
    }

    /// Closes the connection to the client without an answer.
    fn give_up(&mut self, io: &mut RelayIo<'_, '_>, kind: CloseKind) -> io::Result<DriveOutcome> {
        self.failure = Some(kind);
        self.upstream = None;
        self.phase = RelayPhase::Ending;
        io.client.shutdown()?;
        *io.deadline = io.turn.now + LINGER;
        self.client.ready.readable = true;
        discard(io)
    }
}

/// Reads and discards until the client closes: a close with unread bytes would turn the FIN into a reset.
fn discard(io: &mut RelayIo<'_, '_>) -> io::Result<DriveOutcome> {
    let mut budget = TurnBudget::new();
    while !budget.is_spent() {
        io.input.clear();
        match io.input.read(|memory| io.client.read(memory)) {
            Ok(0) => return Ok(DriveOutcome::Done),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(DriveOutcome::Wait),
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            read => budget.spend(read.unwrap_or(0)),
        }
    }
    Ok(DriveOutcome::Again)
}

/// Whether the error means that the connection was never established. An established one fails with a reset or a broken
/// pipe.
fn is_answer_to_syn(e: &io::Error) -> bool {
    !matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
