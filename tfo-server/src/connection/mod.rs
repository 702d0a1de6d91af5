//! One connection: its bytes between the socket and its session.

pub(crate) mod budget;
mod leg;
pub(crate) mod listener;
pub(crate) mod pipes;
mod relay;
mod send_buffer;
pub(crate) mod turn;

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use tfo_core::diagnosis::ServerEvidence;
use tfo_core::socket::FastOpenStream;

use crate::arrival::{ArrivalVerdict, Kept};
use crate::close_reason::Cut;
use crate::metrics::stats::Count;
use crate::service::proxy_protocol::{self, Extensions, Origin as Told, Progress};
use crate::service::{Context, Next, Out, Prepared, Session};

use leg::{Leg, Then};
use listener::Plan;
use relay::{Ends, Relay, Turn};
use send_buffer::Pending;
use turn::{LINGER, ReadBuffer, Share, Step, Tools, TurnContext};

/// How long a client that is kept for its next request must have been idle before a server that stops closes its
/// connection: the next request of a busy client is on its way, and would find the connection closed.
const QUIET: Duration = Duration::from_secs(1);

/// A connection being served.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Connection {
    leg: Leg,
    pub(crate) plan: Rc<Plan>,
    serving: Serving,
    pub(crate) peer: SocketAddr,
    /// Where a proxy stands before this server.
    proxied: Option<Box<Proxied>>,
    pub(crate) kept: Option<Box<Kept>>,
    /// What its arrival tells.
    pub(crate) verdict: ArrivalVerdict,
    pending: Option<Box<Pending>>,
    phase: Phase,
    /// A request has begun: its bytes do not put off the deadline.
    unfinished: bool,
    /// Why the connection is closed gracefully before the session is done.
    failure: Option<Cut>,
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
enum Serving {
    Session(Box<dyn Session>),
    Upstream(Box<Relay>),
}

/// What the proxy says of the connection.
#[derive(Default)]
struct Proxied {
    /// Its header so far, and what came behind it.
    header: Vec<u8>,
    /// Of these bytes, once it is complete.
    header_len: usize,
    ends: Option<Ends>,
    /// For the upstream, where it gets them.
    extensions: Option<Box<[u8]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The SYN's data must not be seen before the client has completed the handshake.
    AwaitsHandshake,
    /// A proxy says first whose connection it is.
    AwaitsHeader,
    /// The header is read; what came behind it is the service's.
    Identified,
    /// Reads and answers.
    Open,
    /// The session holds more input.
    Again,
    /// The end, once what is pending has left.
    Closing,
    /// The same, but the peer may still be sending.
    Ending,
    /// Idle while the server stops: the end, unless a request has come by now.
    LastLook,
    /// This half is closed; reads on until the peer has closed too.
    Lingering,
    /// The same, of a connection that was closed while it was idle.
    LingeringIdle,
}

impl Connection {
    /// `handshake_ended`: whether that is known already.
    pub(crate) fn new(
        stream: FastOpenStream,
        handshake_ended: bool,
        peer: SocketAddr,
        plan: Rc<Plan>,
        started: Instant,
    ) -> Self {
        let serving = match &plan.service {
            Prepared::Forward(forward) => {
                Serving::Upstream(Box::new(Relay::new(Arc::clone(forward))))
            }
            service => Serving::Session(service.session()),
        };
        let mut connection = Self {
            leg: Leg::new(stream, handshake_ended),
            serving,
            deadline: started,
            proxied: plan.proxied.then(Box::default),
            plan,
            peer,
            kept: None,
            verdict: ArrivalVerdict::NotLookedAt,
            pending: None,
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
        let limits = &self.plan.limits;
        (self.phase, self.deadline) = if self.proxied.is_some() {
            (Phase::AwaitsHeader, now + limits.header_timeout)
        } else {
            (Phase::Open, now + limits.idle_timeout)
        };
    }

    /// What is left when it is over.
    pub(crate) fn into_stream(self) -> FastOpenStream {
        self.leg.into_stream()
    }

    /// The server ends it now: with a reset, on both legs, where a FIN would make a part look whole.
    pub(crate) fn cut(&self) {
        match &self.serving {
            Serving::Upstream(relay) => relay.cut(&self.leg),
            Serving::Session(_) => {
                if self.pending.is_some() || self.leg.has_unsent() {
                    self.leg.reset_on_close();
                }
            }
        }
    }

    /// Serves it only once its client has completed the handshake.
    pub(crate) fn await_handshake(&mut self) {
        self.phase = Phase::AwaitsHandshake;
        self.deadline = self.started + self.plan.limits.header_timeout;
    }

    /// Moves as many bytes as the socket and fairness allow. An error ends the connection.
    pub(crate) fn drive(&mut self, tools: &mut Tools) -> io::Result<Step> {
        match self.phase {
            Phase::AwaitsHandshake => {
                if !self.leg.handshake_ended().map_err(io::Error::other)? {
                    return Ok(Step::Wait);
                }
                self.open(tools.context.now);
                if self.phase == Phase::AwaitsHeader {
                    return self.read_header(&mut tools.input);
                }
            }
            Phase::AwaitsHeader => return self.read_header(&mut tools.input),
            Phase::Identified => self.begin_after_header(&mut tools.context)?,
            _ => {}
        }
        match self.serving {
            Serving::Upstream(_) => self.relay(tools),
            Serving::Session(_) => self.serve(tools),
        }
    }

    /// Reads and answers.
    fn serve(&mut self, Tools { input, context }: &mut Tools) -> io::Result<Step> {
        let mut share = Share::new();
        loop {
            if !self.flush(context.now)? {
                return Ok(Step::Wait);
            }
            let mut read = input.lend(self.room());
            match self.phase {
                Phase::Closing => return Ok(Step::Done),
                _ if share.is_spent() => return Ok(Step::Again),
                Phase::Again => {}
                Phase::Ending => {
                    self.shutdown(Phase::Lingering, context.now)?;
                    continue;
                }
                _ => match read.read(|memory| self.leg.read(memory)) {
                    // All that was to be sent has left.
                    Ok(0) => return Ok(Step::Done),
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                    Err(_) if self.phase == Phase::LastLook => {
                        self.shutdown(Phase::LingeringIdle, context.now)?;
                        continue;
                    }
                    Err(_) => return Ok(Step::Wait),
                },
            }
            let bytes = read.bytes();
            self.count_received(bytes.len());
            let before = self.bytes_out;
            match self.phase {
                Phase::Lingering => {}
                Phase::LingeringIdle => self.failure = Some(Cut::RequestTooLate),
                _ => self.hand_over(bytes, context)?,
            }
            let sent = usize::try_from(self.bytes_out - before).unwrap_or(usize::MAX);
            share.spend(bytes.len().saturating_add(sent));
        }
    }

    /// How much may be read: the session may hold that much more. One that holds all that it may reads no more.
    fn room(&self) -> usize {
        let held = match &self.serving {
            Serving::Session(session) => session.held(),
            Serving::Upstream(_) => 0,
        };
        // Reading into nothing would look like the end.
        self.plan.limits.buffer.saturating_sub(held).max(1)
    }

    /// Closes this half; the rest of what the peer sends is read for a while.
    fn shutdown(&mut self, then: Phase, now: Instant) -> io::Result<()> {
        self.leg.shutdown()?;
        self.phase = then;
        self.deadline = now + LINGER;
        Ok(())
    }

    /// Moves bytes between the client and its upstream.
    fn relay(&mut self, Tools { input, context }: &mut Tools) -> io::Result<Step> {
        let Serving::Upstream(relay) = &mut self.serving else { return Ok(Step::Done) };
        let (client, deadline) = (&self.leg, &mut self.deadline);
        let proxied = self.proxied.as_deref();
        let told = proxied.and_then(|proxied| proxied.ends);
        let extensions = proxied.and_then(|proxied| proxied.extensions.as_deref());
        let extensions = Extensions(extensions.unwrap_or_default());
        let ends = || {
            let own = || Ok(Ends { source: self.peer, destination: client.local_addr()? });
            told.map_or_else(own, Ok)
        };
        let mut read = input.lend(self.plan.limits.buffer);
        let mut turn = Turn { client, read: &mut read, context, deadline, extensions };
        let step = relay.drive(&mut turn, ends);
        let (bytes_in, bytes_out) = relay.bytes();
        self.count_relayed(bytes_in, bytes_out);
        step
    }

    /// Reads until the proxy's header is complete.
    fn read_header(&mut self, input: &mut ReadBuffer) -> io::Result<Step> {
        let Some(Proxied { header, header_len, ends, extensions }) = self.proxied.as_deref_mut()
        else {
            return Ok(Step::Done);
        };
        let malformed = |why: &str| {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("PROXY header: {why}")))
        };
        *header_len = loop {
            // Not more than is needed: what is read beyond it is held.
            let mut read = input.lend(proxy_protocol::MOST - header.len());
            match read.read(|memory| self.leg.read(memory)) {
                // A port check sends none.
                Ok(0) if header.is_empty() => return Ok(Step::Done),
                Ok(0) => return malformed("it is not complete"),
                Ok(_) => header.extend_from_slice(read.bytes()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            match proxy_protocol::parse(header) {
                Progress::More => {}
                Progress::Malformed(why) => return malformed(why),
                Progress::Header(told, Extensions(told_extensions), len) => {
                    if let Told::Client { source, destination } = told {
                        *ends = Some(Ends { source, destination });
                    }
                    let forward = self.plan.service.forward();
                    let is_wanted = forward.is_some_and(|forward| forward.sends_extensions());
                    *extensions = Some(told_extensions)
                        .filter(|bytes| is_wanted && !bytes.is_empty())
                        .map(Into::into);
                    break len;
                }
            }
        };
        self.phase = Phase::Identified;
        Ok(Step::Identified)
    }

    /// Gives the service what came behind the header.
    fn begin_after_header(&mut self, context: &mut TurnContext) -> io::Result<()> {
        self.phase = Phase::Open;
        self.deadline = context.now + self.plan.limits.idle_timeout;
        let Some(Proxied { header, header_len, .. }) = self.proxied.as_deref_mut() else {
            return Ok(());
        };
        let header = mem::take(header);
        let rest = header.get(*header_len..).unwrap_or_default();
        match &mut self.serving {
            Serving::Upstream(relay) => relay.read_before(rest),
            Serving::Session(_) if !rest.is_empty() => {
                self.count_received(rest.len());
                self.hand_over(rest, context)?;
            }
            Serving::Session(_) => {}
        }
        Ok(())
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn has_sent_all(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether its client was answered, and nothing of another request has come.
    fn is_at_rest(&self) -> bool {
        let served = self.bytes_out > 0 && !self.unfinished && self.pending.is_none();
        let at_rest = match &self.serving {
            Serving::Session(session) => session.at_rest(),
            Serving::Upstream(_) => false,
        };
        self.phase == Phase::Open && served && at_rest
    }

    /// The server stops: if the connection is idle it ends once it has been idle for [`QUIET`]. A client that
    /// asks before is answered, and told that it was the last answer.
    pub(crate) fn end_when_quiet(&mut self) {
        if self.is_at_rest() {
            let idle = self.plan.limits.idle_timeout;
            self.deadline =
                self.deadline.checked_sub(idle.saturating_sub(QUIET)).unwrap_or(self.deadline);
        }
    }

    /// Gives the session what was read, and sends what it says.
    fn hand_over(&mut self, bytes: &[u8], context: &mut TurnContext) -> io::Result<()> {
        let Serving::Session(session) = &mut self.serving else { return Ok(()) };
        let TurnContext { out, date, now, ending, .. } = context;
        let mut out = out.lend();
        let (plan, kept) = (&self.plan, &mut self.kept);
        let mut evidence = || Some(kept.as_deref_mut()?.full_evidence(&plan.observer));
        let mut context = Context {
            respond: plan.service.respond(),
            buffer: plan.limits.buffer,
            date,
            ending: *ending,
            evidence: &mut evidence,
        };
        let next = session.received(bytes, &mut out, &mut context);
        self.phase = match next {
            Next::Read | Next::More | Next::Begun => Phase::Open,
            Next::Again => Phase::Again,
            Next::Close => Phase::Closing,
            Next::Linger => Phase::Ending,
        };
        let limits = &self.plan.limits;
        match next {
            Next::More if self.unfinished => {}
            Next::More | Next::Begun => {
                self.unfinished = true;
                self.deadline = *now + limits.header_timeout;
            }
            Next::Read | Next::Again | Next::Close | Next::Linger => {
                self.unfinished = false;
                self.deadline = *now + limits.idle_timeout;
            }
        }
        self.send(&out)
    }

    /// Sends what a session has put into `out`; what does not leave at once is kept.
    fn send(&mut self, out: &Out) -> io::Result<()> {
        let (sent, pending) = Pending::send(&self.leg, out, self.then())?;
        self.pending = pending.map(Box::new);
        self.count_sent(sent);
        Ok(())
    }

    /// Sends what is pending; whether all of it has left.
    fn flush(&mut self, now: Instant) -> io::Result<bool> {
        let then = self.then();
        let Some(pending) = self.pending.as_deref_mut() else { return Ok(true) };
        let sent = pending.flush(&self.leg, then)?;
        if pending.is_empty() {
            self.pending = None;
        }
        if sent > 0 {
            self.count_sent(sent);
            // A peer that takes what is sent is alive; that does not give a request more time.
            if !self.unfinished {
                self.deadline = now + self.plan.limits.idle_timeout;
            }
        }
        Ok(self.pending.is_none())
    }

    fn count_received(&mut self, len: usize) {
        self.bytes_in = self.bytes_in.saturating_add(len as u64);
        self.plan.stats.add(Count::BytesIn, len as u64);
    }

    /// What a relay has moved so far.
    fn count_relayed(&mut self, bytes_in: u64, bytes_out: u64) {
        let stats = &self.plan.stats;
        stats.add(Count::BytesIn, bytes_in.saturating_sub(self.bytes_in));
        stats.add(Count::BytesOut, bytes_out.saturating_sub(self.bytes_out));
        (self.bytes_in, self.bytes_out) = (bytes_in, bytes_out);
    }

    fn count_sent(&mut self, len: usize) {
        self.bytes_out = self.bytes_out.saturating_add(len as u64);
        self.plan.stats.add(Count::BytesOut, len as u64);
    }

    /// What follows the bytes of an answer.
    fn then(&self) -> Then {
        match self.phase {
            Phase::Closing => Then::Close,
            Phase::Ending => Then::Shutdown,
            _ => Then::Nothing,
        }
    }

    /// Its deadline has come: which limit that was; `None`: it has another turn.
    pub(crate) fn late(&mut self, context: &mut TurnContext) -> Option<Cut> {
        if context.ending && self.is_at_rest() {
            self.phase = Phase::LastLook;
            return None;
        }
        match (self.phase, &mut self.serving) {
            (Phase::AwaitsHandshake, _) => Some(Cut::HandshakeTimeout),
            (Phase::AwaitsHeader, _) => Some(Cut::HeaderTimeout),
            (Phase::Lingering | Phase::LingeringIdle, _) => {
                Some(self.failure.unwrap_or(Cut::LingerTimeout))
            }
            (_, Serving::Upstream(relay)) => relay.late(),
            _ if self.unfinished => self.request_timed_out(context),
            _ => Some(self.failure.unwrap_or(Cut::IdleTimeout)),
        }
    }

    /// Sends the session's answer to a request that is late, and then closes gracefully: unread bytes
    /// would turn the FIN into a reset, which overtakes the answer. Without an answer the connection is
    /// cut.
    fn request_timed_out(&mut self, context: &mut TurnContext) -> Option<Cut> {
        let cut = Some(Cut::HeaderTimeout);
        let Serving::Session(session) = &mut self.serving else { return cut };
        let mut out = context.out.lend();
        // Behind an answer that the peer does not read, this one would not arrive either.
        if self.pending.is_some() || !session.timed_out(&mut out, &context.date) {
            return cut;
        }
        self.failure = cut;
        self.unfinished = false;
        self.phase = Phase::Ending;
        self.deadline = context.now + LINGER;
        if self.send(&out).is_ok() { None } else { cut }
    }

    /// An event on its own socket, or on that towards the upstream.
    pub(crate) fn event(&mut self, of_upstream: bool, event: &Event) {
        if let Serving::Upstream(relay) = &mut self.serving {
            relay.event(of_upstream, event);
        }
    }

    /// Asks for the events that it waits for. Many connections end before they need one.
    pub(crate) fn register(&mut self, registry: &Registry, tokens: [Token; 2]) -> io::Result<()> {
        match &mut self.serving {
            Serving::Upstream(relay) => relay.register(registry, &self.leg, tokens),
            Serving::Session(_) if self.registered => Ok(()),
            Serving::Session(_) => {
                self.registered = true;
                let fd = self.leg.as_fd().as_raw_fd();
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut SourceFd(&fd), tokens[0], interest)
            }
        }
    }

    /// Why its client was not served, or not to the end, where no error of the socket says so.
    pub(crate) fn failure(&self) -> Option<Cut> {
        match &self.serving {
            Serving::Upstream(relay) => relay.failure(),
            Serving::Session(_) => self.failure,
        }
    }

    /// The address that counts: the client's own where a proxy has named it.
    pub(crate) fn source(&self) -> IpAddr {
        self.client().unwrap_or(self.peer).ip()
    }

    /// The client's own address, where a proxy has told it.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        Some(self.proxied.as_ref()?.ends?.source)
    }

    /// The upstream that it was handed to.
    pub(crate) fn upstream(&self) -> Option<SocketAddr> {
        match &self.serving {
            Serving::Upstream(relay) => relay.upstream(),
            Serving::Session(_) => None,
        }
    }

    /// What is known of its arrival, without a look at the counters.
    pub(crate) fn evidence(&mut self) -> Option<ServerEvidence> {
        Some(self.kept.as_deref_mut()?.evidence(&self.plan.observer))
    }
}
