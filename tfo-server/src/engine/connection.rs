//! One connection: its bytes between the socket and its session.

use std::io::{self, Read};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::{Cause, Outcome, ServerEvidence};
use tfo_core::observer::{ArrivalRecord, ServerObserver};
use tfo_core::socket::FastOpenStream;

use super::pending::Pending;
use super::plan::Plan;
use super::relay::{Ends, Pipes, Relay, Turn};
use super::stats::Count;
use super::why::Cut;
use crate::service::http::Date;
use crate::service::proxy_protocol::{self, Origin as Told, Progress};
use crate::service::{Context, Next, Out, Prepared, Session};

/// How often one connection may read before the others have their turn.
pub(super) const TURNS: usize = 16;
/// How long a closing connection waits for the peer's end.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// A connection being served.
pub(super) struct Connection {
    stream: FastOpenStream,
    pub(super) plan: Rc<Plan>,
    serving: Serving,
    pub(super) peer: SocketAddr,
    /// Where a proxy stands before this server.
    proxied: Option<Box<Proxied>>,
    pub(super) kept: Option<Box<Kept>>,
    /// What its arrival tells; `None`: nobody looked.
    pub(super) verdict: Option<(Outcome, Option<Cause>)>,
    pending: Pending,
    phase: Phase,
    /// A request has begun: its bytes do not put off the deadline.
    unfinished: bool,
    registered: bool,
    /// Counts for its source address.
    pub(super) counted: bool,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// Who answers.
enum Serving {
    Session(Box<dyn Session>),
    Upstream(Box<Relay>),
}

/// What the proxy says of the connection.
#[derive(Default)]
struct Proxied {
    /// Of its header, so far.
    header: Vec<u8>,
    ends: Option<Ends>,
}

/// What is kept of a connection's arrival for who asks later.
pub(super) struct Kept {
    pub(super) record: ArrivalRecord,
    /// Once all that the host can say was read.
    pub(super) evidence: Option<Box<ServerEvidence>>,
    pub(super) cookie_origin: Option<Origin>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The SYN's data must not be seen before the client has completed the handshake.
    AwaitsHandshake,
    /// A proxy says first whose connection it is.
    AwaitsHeader,
    /// Reads and answers.
    Open,
    /// The session holds more input.
    Again,
    /// The end, once what is pending has left.
    Closing,
    /// The same, but the peer may still be sending.
    Ending,
    /// This half is closed; reads on until the peer has closed too.
    Lingering,
}

/// What a connection needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An event on its socket.
    Wait,
    /// Another turn: there may be more to read.
    Again,
    /// Nothing: it is over.
    Done,
}

/// What a worker lends to the connection whose turn it is.
pub(super) struct Tools {
    pub(super) buffer: Box<[u8]>,
    pub(super) out: Out,
    pub(super) date: Date,
    /// The time, as of this turn of the loop or the last connection's end: each look at the clock costs.
    pub(super) now: Instant,
    /// The drain has begun.
    pub(super) ending: bool,
    pub(super) pipes: Pipes,
}

impl Connection {
    pub(super) fn new(
        stream: FastOpenStream,
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
            stream,
            serving,
            deadline: started,
            proxied: plan.proxied.then(Box::default),
            plan,
            peer,
            kept: None,
            verdict: None,
            pending: Pending::default(),
            phase: Phase::Open,
            unfinished: false,
            registered: false,
            counted: false,
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
    pub(super) fn into_stream(self) -> FastOpenStream {
        self.stream
    }

    /// Serves it only once its client has completed the handshake.
    pub(super) fn await_handshake(&mut self) {
        self.phase = Phase::AwaitsHandshake;
        self.deadline = self.started + self.plan.limits.header_timeout;
    }

    /// Moves as many bytes as the socket and fairness allow. An error ends the connection.
    pub(super) fn drive(&mut self, tools: &mut Tools) -> io::Result<Step> {
        if self.phase == Phase::AwaitsHandshake {
            if !self.stream.handshake_ended().map_err(io::Error::other)? {
                return Ok(Step::Wait);
            }
            self.open(tools.now);
        }
        if self.phase == Phase::AwaitsHeader
            && let Some(step) = self.read_header(tools)?
        {
            return Ok(step);
        }
        if matches!(self.serving, Serving::Upstream(_)) {
            return self.relay(tools);
        }
        for _ in 0..TURNS {
            if !self.flush(tools.now)? {
                return Ok(Step::Wait);
            }
            let len = match self.phase {
                Phase::Closing => return Ok(Step::Done),
                Phase::Again => 0,
                Phase::Ending => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.phase = Phase::Lingering;
                    self.deadline = tools.now + LINGER;
                    continue;
                }
                Phase::AwaitsHandshake | Phase::AwaitsHeader | Phase::Open | Phase::Lingering => {
                    match (&self.stream).read(&mut tools.buffer) {
                        // All that was to be sent has left.
                        Ok(0) => return Ok(Step::Done),
                        Ok(len) => len,
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                        Err(e) => return Err(e),
                    }
                }
            };
            self.count_received(len);
            if self.phase != Phase::Lingering {
                self.hand_over(len, tools)?;
            }
        }
        Ok(Step::Again)
    }

    /// Moves bytes between the client and its upstream.
    fn relay(&mut self, tools: &mut Tools) -> io::Result<Step> {
        let Serving::Upstream(relay) = &mut self.serving else { return Ok(Step::Done) };
        let limit = self.plan.limits.buffer.min(tools.buffer.len());
        let (client, deadline) = (&self.stream, &mut self.deadline);
        let told = self.proxied.as_ref().and_then(|proxied| proxied.ends);
        let ends = || {
            let own = || Ok(Ends { source: self.peer, destination: client.local_addr()? });
            told.map_or_else(own, Ok)
        };
        let now = tools.now;
        let step = relay.drive(&mut Turn { client, tools, deadline, now, limit }, ends);
        let (bytes_in, bytes_out) = relay.bytes();
        self.count_relayed(bytes_in, bytes_out);
        step
    }

    /// Reads until the proxy's header is complete; `None`: it is, and the service's turn has come.
    fn read_header(&mut self, tools: &mut Tools) -> io::Result<Option<Step>> {
        let Some(Proxied { header, ends }) = self.proxied.as_deref_mut() else { return Ok(None) };
        let malformed = |why: &str| {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("PROXY header: {why}")))
        };
        let len = loop {
            // Not more than is needed: what is read beyond it is held.
            let room = tools.buffer.get_mut(..proxy_protocol::MOST).unwrap_or_default();
            match (&self.stream).read(room) {
                // Who checks whether the port is open sends none.
                Ok(0) if header.is_empty() => return Ok(Some(Step::Done)),
                Ok(0) => return malformed("it is not complete"),
                Ok(len) => header.extend_from_slice(room.get(..len).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Step::Wait)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            match proxy_protocol::parse(header) {
                Progress::More => {}
                Progress::Malformed(why) => return malformed(why),
                Progress::Header(Told::Unknown, len) => break len,
                Progress::Header(Told::Client { source, destination }, len) => {
                    *ends = Some(Ends { source, destination });
                    break len;
                }
            }
        };
        let header = mem::take(header);
        let rest = header.get(len..).unwrap_or_default();
        self.phase = Phase::Open;
        self.deadline = tools.now + self.plan.limits.idle_timeout;
        match &mut self.serving {
            Serving::Upstream(relay) => relay.read_before(rest),
            Serving::Session(_) if !rest.is_empty() => {
                tools.buffer.get_mut(..rest.len()).unwrap_or_default().copy_from_slice(rest);
                self.count_received(rest.len());
                self.hand_over(rest.len(), tools)?;
            }
            Serving::Session(_) => {}
        }
        Ok(None)
    }

    /// Whether nothing waits to be sent.
    pub(super) fn has_sent_all(&self) -> bool {
        self.pending.is_empty()
    }

    /// Closes this half if nothing is lost by that; whether it will.
    pub(super) fn end_at_rest(&mut self) -> bool {
        let served = self.bytes_out > 0 && !self.unfinished && self.pending.is_empty();
        let at_rest = match &self.serving {
            Serving::Session(session) => session.at_rest(),
            Serving::Upstream(_) => false,
        };
        let ends = self.phase == Phase::Open && served && at_rest;
        if ends {
            self.phase = Phase::Ending;
        }
        ends
    }

    /// Gives the session what was read, and sends what it says.
    fn hand_over(&mut self, len: usize, tools: &mut Tools) -> io::Result<()> {
        let Serving::Session(session) = &mut self.serving else { return Ok(()) };
        let Tools { buffer, out, date, now, ending, .. } = tools;
        let bytes = buffer.get(..len).unwrap_or_default();
        let (plan, kept) = (&self.plan, &mut self.kept);
        let mut evidence = || full_evidence(&plan.observer, kept.as_deref_mut());
        let mut context =
            Context { service: &plan.service, date, ending: *ending, evidence: &mut evidence };
        let next = session.received(bytes, out, &mut context);
        self.phase = match next {
            Next::Read | Next::More => Phase::Open,
            Next::Again => Phase::Again,
            Next::Close => Phase::Closing,
            Next::Linger => Phase::Ending,
        };
        let limits = &self.plan.limits;
        if next != Next::More {
            self.unfinished = false;
            self.deadline = *now + limits.idle_timeout;
        } else if !mem::replace(&mut self.unfinished, true) {
            self.deadline = *now + limits.header_timeout;
        }
        let sent = self.send(out);
        // Sent or not: whose turn is next must find nothing of this connection.
        out.bytes.clear();
        sent
    }

    /// Sends what a session has put into `out`; what does not leave at once is kept.
    fn send(&mut self, out: &mut Out) -> io::Result<()> {
        let (sent, pending) = Pending::send(&self.stream, out, self.fin_follows())?;
        self.pending = pending;
        self.count_sent(sent);
        Ok(())
    }

    /// Sends what is pending; whether all of it has left.
    fn flush(&mut self, now: Instant) -> io::Result<bool> {
        if self.pending.is_empty() {
            return Ok(true);
        }
        let sent = self.pending.flush(&self.stream, self.fin_follows())?;
        if sent > 0 {
            self.count_sent(sent);
            self.deadline = now + self.plan.limits.idle_timeout;
        }
        Ok(self.pending.is_empty())
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

    /// The last bytes and the FIN are to leave in one segment.
    fn fin_follows(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Ending)
    }

    /// Its deadline has come: which limit that was; `None`: it has another turn.
    pub(super) fn late(&mut self) -> Option<Cut> {
        match (self.phase, &mut self.serving) {
            (Phase::AwaitsHandshake, _) => Some(Cut::HandshakeTimeout),
            (Phase::AwaitsHeader, _) => Some(Cut::HeaderTimeout),
            (_, Serving::Upstream(relay)) => relay.late(),
            _ if self.unfinished => Some(Cut::HeaderTimeout),
            _ => Some(Cut::IdleTimeout),
        }
    }

    /// An event on its own socket, or on that towards the upstream.
    pub(super) fn event(&mut self, of_upstream: bool, event: &Event) {
        if let Serving::Upstream(relay) = &mut self.serving {
            relay.event(of_upstream, event);
        }
    }

    /// Asks for the events that it waits for. Many connections end before they need one.
    pub(super) fn register(&mut self, registry: &Registry, tokens: [Token; 2]) -> io::Result<()> {
        match &mut self.serving {
            Serving::Upstream(relay) => relay.register(registry, &self.stream, tokens),
            Serving::Session(_) if self.registered => Ok(()),
            Serving::Session(_) => {
                self.registered = true;
                let fd = self.stream.as_fd().as_raw_fd();
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut SourceFd(&fd), tokens[0], interest)
            }
        }
    }

    /// Why the upstream served it not, or not to the end.
    pub(super) fn failure(&self) -> Option<Cut> {
        match &self.serving {
            Serving::Upstream(relay) => relay.failure(),
            Serving::Session(_) => None,
        }
    }

    /// The client's own address, where a proxy has told it.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        Some(self.proxied.as_ref()?.ends?.source)
    }

    /// The upstream that it was handed to.
    pub(super) fn upstream(&self) -> Option<SocketAddr> {
        match &self.serving {
            Serving::Upstream(relay) => relay.upstream(),
            Serving::Session(_) => None,
        }
    }

    /// What is known of its arrival, without a look at the counters.
    pub(super) fn evidence(&mut self) -> Option<ServerEvidence> {
        let kept = self.kept.as_deref_mut()?;
        let observer = &self.plan.observer;
        Some(match kept.evidence.take() {
            Some(evidence) => *evidence,
            None => observer.evidence_of(&kept.record),
        })
    }
}

/// All that is known of an arrival. The counters' change is told once: who has read it keeps it.
fn full_evidence(observer: &ServerObserver, kept: Option<&mut Kept>) -> Option<ServerEvidence> {
    let kept = kept?;
    let full = || Box::new(observer.full_evidence_of(&kept.record));
    Some((**kept.evidence.get_or_insert_with(full)).clone())
}
