//! Moves the bytes of a connection to an upstream and back.
//!
//! A pair costs no memory but its own few fields: bytes are read into the worker's buffer, and only those
//! that the other end does not take are held. A young pair is not registered with the event loop but
//! tried again at the loop's next turn: under load the answer is there by then, and a one-shot
//! exchange needs no event at all.

mod direction;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use tfo_core::connection::TcpState;
use tfo_core::diagnosis::Attempt;
use tfo_core::program::one_line;

use super::leg::Leg;
use super::turn::{Filling, LINGER, Share, Step, TurnContext};
use crate::close_reason::Cut;
use crate::service::forward::{Forward, Lease, is_of_this_host};
use crate::service::proxy_protocol::Extensions;

use direction::{Broken, End, Ready, Scratch, Way};

/// How many turns of the loop a socket is tried before its events are asked for.
const PATIENCE: u8 = 2;
/// Who answers a SYN later than this may not have got its data: the kernel repeats it without after
/// one second.
const SLOW: Duration = Duration::from_millis(900);

/// A connection to an upstream, beside the client's.
pub(super) struct Relay {
    forward: Arc<Forward>,
    phase: Phase,
    upstream: Option<Upstream>,
    client: Side,
    to_upstream: Way,
    to_client: Way,
    /// How many of the first bytes are a header of ours.
    header: usize,
    patience: u8,
    /// Why the client got no answer, or not all of it.
    failure: Option<Cut>,
}

struct Upstream {
    leg: Leg,
    lease: Lease,
    side: Side,
}

/// A socket's events.
struct Side {
    ready: Ready,
    /// Those that are asked for.
    interest: Option<Interest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was read yet.
    New,
    Connecting {
        /// Data rode the SYN.
        syn_data: bool,
        /// No byte of the client's has left.
        replayable: bool,
        late: bool,
    },
    Open,
    /// There is no upstream, and the client was told the end: reads on until it has closed too.
    Ending,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// What a connection lends to its relay. `'b` is the life of what the worker lends.
pub(super) struct Turn<'a, 'b> {
    pub(super) client: &'a Leg,
    pub(super) deadline: &'a mut Instant,
    /// As large as the most that may be held each way.
    pub(super) read: &'a mut Filling<'b>,
    pub(super) context: &'a mut TurnContext,
    /// Those of the PROXY header that the connection began with.
    pub(super) extensions: Extensions<'a>,
}

impl Side {
    const NEW: Self = Self { ready: Ready::NEW, interest: None };

    fn event(&mut self, event: &Event) {
        self.ready.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ready.writable |= event.is_writable() || event.is_error();
    }

    fn register(
        &mut self,
        registry: &Registry,
        leg: &Leg,
        token: Token,
        write: bool,
    ) -> io::Result<()> {
        let wanted =
            if write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let fd = leg.as_fd().as_raw_fd();
        match self.interest {
            None => registry.register(&mut SourceFd(&fd), token, wanted)?,
            Some(now) if !now.is_writable() && write => {
                registry.reregister(&mut SourceFd(&fd), token, wanted)?;
            }
            Some(_) => return Ok(()),
        }
        self.interest = Some(wanted);
        Ok(())
    }
}

impl Relay {
    pub(super) fn new(forward: Arc<Forward>) -> Self {
        Self {
            forward,
            phase: Phase::New,
            upstream: None,
            client: Side::NEW,
            to_upstream: Way::new(false),
            // The listener's sockets have the option already.
            to_client: Way::new(true),
            header: 0,
            patience: PATIENCE,
            failure: None,
        }
    }

    /// The client's first bytes, which somebody else has read.
    pub(super) fn read_before(&mut self, bytes: &[u8]) {
        self.to_upstream.hold(bytes.to_vec(), 0);
        self.to_upstream.bytes_in += bytes.len() as u64;
    }

    /// From and to the client.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.to_upstream.bytes_in, self.to_client.bytes_out)
    }

    /// Why the client got no answer, or not all of it.
    pub(super) fn failure(&self) -> Option<Cut> {
        self.failure
    }

    /// Its deadline has come: which limit that was; `None`: it goes on with another turn.
    pub(super) fn late(&mut self) -> Option<Cut> {
        match &mut self.phase {
            Phase::Connecting { late, .. } => {
                *late = true;
                None
            }
            Phase::Ending => Some(self.failure.unwrap_or(Cut::NoUpstream)),
            Phase::New | Phase::Open => Some(Cut::IdleTimeout),
        }
    }

    pub(super) fn event(&mut self, of_upstream: bool, event: &Event) {
        match &mut self.upstream {
            Some(upstream) if of_upstream => {
                upstream.side.event(event);
                upstream.side.ready.connected |= event.is_writable() && !event.is_error();
            }
            _ => self.client.event(event),
        }
    }

    /// The upstream that the connection was handed to.
    pub(super) fn upstream(&self) -> Option<SocketAddr> {
        self.upstream.as_ref().map(|upstream| upstream.lease.address())
    }

    /// Asks for the events that it waits for.
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        client: &Leg,
        tokens: [Token; 2],
    ) -> io::Result<()> {
        let [client_token, upstream_token] = tokens;
        let write = !self.client.ready.writable;
        self.client.register(registry, client, client_token, write)?;
        let connecting = matches!(self.phase, Phase::Connecting { syn_data: false, .. });
        if let Some(Upstream { leg, side, .. }) = &mut self.upstream {
            // Once it is connected it can be told the end.
            let end = self.to_upstream.is_ending() && !side.ready.connected;
            let write = connecting || end || !side.ready.writable;
            side.register(registry, leg, upstream_token, write)?;
        }
        Ok(())
    }

    /// Moves as many bytes as the sockets and fairness allow. An error ends both connections.
    pub(super) fn drive(
        &mut self,
        turn: &mut Turn<'_, '_>,
        ends: impl Fn() -> io::Result<Ends>,
    ) -> io::Result<Step> {
        match self.phase {
            Phase::New => self.begin(turn, ends),
            Phase::Connecting { late: true, .. } => self.settle(turn),
            Phase::Connecting { .. } | Phase::Open => self.exchange(turn),
            Phase::Ending => discard(turn),
        }
    }

    /// The server ends both connections now: with a reset where a FIN would make a part look whole.
    pub(super) fn cut(&self, client: &Leg) {
        let Some(Upstream { leg, .. }) = &self.upstream else { return };
        let is_part = |way: &Way| way.bytes_in > 0 && !way.is_over();
        let parts = is_part(&self.to_upstream) || is_part(&self.to_client);
        if parts || client.has_unsent() || leg.has_unsent() {
            client.reset_on_close();
            leg.reset_on_close();
        }
    }

    /// Reads what has come, and starts to connect with it.
    fn begin(
        &mut self,
        turn: &mut Turn<'_, '_>,
        ends: impl Fn() -> io::Result<Ends>,
    ) -> io::Result<Step> {
        let mut client = End { leg: turn.client, ready: &mut self.client.ready };
        self.to_upstream.read_first(&mut client, turn.read)?;
        if self.to_upstream.bytes_in == 0 && self.to_upstream.is_open() && self.patience > 0 {
            // A regular client's first bytes follow at the heels of its handshake. Only for a
            // moment: in many protocols the server speaks first.
            self.patience -= 1;
            self.client.ready.readable = true;
            return Ok(Step::Again);
        }
        self.patience = PATIENCE;
        // The worker's memory, so that a header costs no allocation.
        let mut out = turn.context.out.lend();
        if self.forward.sends_header() {
            let Ends { source, destination } = ends()?;
            self.forward.header(source, destination, turn.extensions, &mut out.bytes);
            self.header = out.bytes.len();
        }
        out.bytes.extend_from_slice(&self.to_upstream.take_held());
        let first = if out.bytes.is_empty() {
            turn.read.bytes()
        } else {
            out.bytes.extend_from_slice(turn.read.bytes());
            &out.bytes
        };
        let connected = self.connect(self.forward.choose(), first);
        drop(out);
        self.note_connect(turn, connected)
    }

    /// An attempt to connect has begun, or can't.
    fn note_connect(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connected: Result<(), Cut>,
    ) -> io::Result<Step> {
        match connected {
            Ok(()) => {
                *turn.deadline = turn.context.now + self.forward.settings.connect_timeout;
                Ok(self.wait())
            }
            Err(why) => self.give_up(turn, why),
        }
    }

    /// Starts to connect to this upstream, else to another.
    fn connect(&mut self, mut lease: Option<Lease>, first: &[u8]) -> Result<(), Cut> {
        loop {
            let mut upstream = lease.ok_or(Cut::NoUpstream)?;
            let stream = match self.forward.connect(&mut upstream, first, self.header) {
                Ok(stream) => stream,
                Err(e) if is_of_this_host(&e) => {
                    self.forward.starved(&e);
                    return Err(Cut::NoSocket);
                }
                Err(e) => {
                    upstream.failed(&one_line(&e), false);
                    lease = upstream.next();
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
            self.phase = Phase::Connecting { syn_data: sent > 0, replayable, late: false };
            // The answer to the SYN is still under way.
            let ready = Ready { readable: false, connected: false, ..Ready::NEW };
            let side = Side { ready, interest: None };
            // It connects: no handshake of it is unfinished in a way that a shutdown waits for.
            self.upstream = Some(Upstream { leg: Leg::new(stream, true), lease: upstream, side });
            return Ok(());
        }
    }

    /// The time to connect is over.
    fn settle(&mut self, turn: &mut Turn<'_, '_>) -> io::Result<Step> {
        let Some(upstream) = &self.upstream else { return Ok(Step::Done) };
        let info = upstream.leg.stream().info();
        if info.is_ok_and(|info| info.state != TcpState::SynSent) {
            // An upstream that thinks for long says nothing else of its handshake.
            if let Some(upstream) = &mut self.upstream {
                upstream.side.ready.connected = true;
            }
            self.connected(turn);
            return self.exchange(turn);
        }
        let timeout = self.forward.settings.connect_timeout;
        self.failed(turn, &format_args!("no answer within {timeout:?}"))
    }

    /// The upstream can't be reached: another one is tried, unless something has left that may have
    /// been acted on.
    fn failed(&mut self, turn: &mut Turn<'_, '_>, why: &dyn Display) -> io::Result<Step> {
        let Some(Upstream { mut lease, .. }) = self.upstream.take() else {
            return Ok(Step::Done);
        };
        let Phase::Connecting { syn_data, replayable, .. } = self.phase else {
            return Ok(Step::Done);
        };
        lease.failed(why, syn_data);
        if !replayable {
            return self.give_up(turn, Cut::UpstreamLost);
        }
        let first = self.to_upstream.take_held();
        self.patience = PATIENCE;
        // A regular connection shows whether it was the data.
        let next = if syn_data { Some(lease) } else { lease.next() };
        let connected = self.connect(next, &first);
        self.note_connect(turn, connected)
    }

    fn connected(&mut self, turn: &mut Turn<'_, '_>) {
        let (Some(upstream), Phase::Connecting { syn_data, .. }) = (&mut self.upstream, self.phase)
        else {
            return;
        };
        upstream.lease.succeeded();
        let settings = &self.forward.settings;
        let left = turn.deadline.saturating_duration_since(turn.context.now);
        let slow = settings.connect_timeout.saturating_sub(left) >= SLOW;
        // The clock says when to look; the kernel says what happened.
        if syn_data
            && (slow || upstream.lease.is_trial())
            && let Ok(info) = upstream.leg.stream().info()
        {
            upstream.lease.syn_data_answered(&info);
        }
        self.phase = Phase::Open;
        *turn.deadline = turn.context.now + settings.idle_timeout;
    }

    /// Moves bytes both ways.
    fn exchange(&mut self, turn: &mut Turn<'_, '_>) -> io::Result<Step> {
        let Some(Upstream { leg, side, .. }) = &mut self.upstream else {
            return Ok(Step::Done);
        };
        let before = self.to_upstream.moved() + self.to_client.moved();
        let written = self.to_upstream.bytes_out;
        let mut scratch = Scratch { read: &mut *turn.read, pipes: &mut turn.context.pipes };
        let mut again = false;
        let mut broken = None;

        let last = self.to_upstream.is_over();
        let upstream = End { leg, ready: &mut side.ready };
        let client = End { leg: turn.client, ready: &mut self.client.ready };
        match self.to_client.pump(upstream, client, &mut scratch, last) {
            Ok(more) => again |= more,
            Err(Broken::Source(e)) => broken = Some(e),
            Err(Broken::Sink(_)) => {
                // What the client sent before is still handed on, then its end.
                self.to_client.abandon();
                self.client.ready = Ready { broken: true, ..Ready::NEW };
            }
        }
        side.ready.connected |= self.to_client.bytes_in > 0 || !self.to_client.is_open();

        let last = self.to_client.is_over();
        let upstream = End { leg, ready: &mut side.ready };
        let client = End { leg: turn.client, ready: &mut self.client.ready };
        if broken.is_none() {
            match self.to_upstream.pump(client, upstream, &mut scratch, last) {
                Ok(more) => again |= more,
                Err(Broken::Source(e)) => {
                    leg.reset_on_close();
                    return Err(e);
                }
                Err(Broken::Sink(e)) if is_answer_to_syn(&e) => broken = Some(e),
                Err(Broken::Sink(_)) => {
                    // It may have answered before: that is still handed on.
                    self.to_upstream.abandon();
                    side.ready = Ready { broken: true, ..Ready::NEW };
                    again = true;
                }
            }
        }
        side.ready.connected |= self.to_upstream.bytes_out > written;
        if let Some(e) = broken {
            return self.upstream_broke(turn, &e);
        }
        if side.ready.connected {
            self.connected(turn);
        }
        if self.to_upstream.moved() + self.to_client.moved() > before {
            self.patience = PATIENCE;
            if self.phase == Phase::Open {
                *turn.deadline = turn.context.now + self.forward.settings.idle_timeout;
            }
        }
        if self.to_upstream.is_over() && self.to_client.is_over() {
            return self.finish(turn);
        }
        Ok(if again { Step::Again } else { self.wait() })
    }

    /// Reading from the upstream failed.
    fn upstream_broke(&mut self, turn: &mut Turn<'_, '_>, e: &io::Error) -> io::Result<Step> {
        if matches!(self.phase, Phase::Connecting { .. }) && is_answer_to_syn(e) {
            return self.failed(turn, e);
        }
        // A FIN would say that the answer is whole.
        turn.client.reset_on_close();
        self.failure = Some(Cut::UpstreamReset);
        Err(io::Error::from(e.kind()))
    }

    /// Both directions are over.
    fn finish(&mut self, turn: &Turn<'_, '_>) -> io::Result<Step> {
        let upstream = self.upstream.as_ref();
        if upstream.is_some_and(|upstream| upstream.side.ready.broken) {
            turn.client.reset_on_close();
            self.failure = Some(Cut::UpstreamReset);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.client.ready.broken {
            if let Some(upstream) = upstream {
                upstream.leg.reset_on_close();
            }
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Step::Done)
    }

    /// Nothing more can be done now: tries again at the next turn, or waits for an event.
    fn wait(&mut self) -> Step {
        let expected = match &mut self.upstream {
            Some(upstream) if !self.to_client.is_over() => &mut upstream.side,
            _ => &mut self.client,
        };
        if expected.interest.is_some() || self.patience == 0 {
            return Step::Wait;
        }
        self.patience -= 1;
        expected.ready.readable = true;
        Step::Again
    }

    /// Tells the client the end, without an answer.
    fn give_up(&mut self, turn: &mut Turn<'_, '_>, why: Cut) -> io::Result<Step> {
        self.failure = Some(why);
        self.upstream = None;
        self.phase = Phase::Ending;
        turn.client.shutdown()?;
        *turn.deadline = turn.context.now + LINGER;
        self.client.ready.readable = true;
        discard(turn)
    }
}

/// Reads until the client has closed too: closing with unread bytes would turn the FIN into a reset.
fn discard(turn: &mut Turn<'_, '_>) -> io::Result<Step> {
    let mut share = Share::new();
    while !share.is_spent() {
        turn.read.clear();
        match turn.read.read(|memory| turn.client.read(memory)) {
            Ok(0) => return Ok(Step::Done),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            read => share.spend(read.unwrap_or(0)),
        }
    }
    Ok(Step::Again)
}

/// The connection did not come about. One that did ends by a reset or a broken pipe.
fn is_answer_to_syn(e: &io::Error) -> bool {
    !matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
