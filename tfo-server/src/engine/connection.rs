//! One connection: its bytes between the socket and its session.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::{Cause, Outcome, ServerEvidence};
use tfo_core::observer::{ArrivalRecord, ServerObserver};
use tfo_core::socket::FastOpenStream;

use super::plan::Plan;
use super::stats::Count;
use super::why::Cut;
use crate::service::http::Date;
use crate::service::{Context, Next, Out, Session};

/// How often one connection may read before the others have their turn.
const TURNS: usize = 16;
/// How long a closing connection waits for the peer's end.
const LINGER: Duration = Duration::from_secs(2);

/// A connection being served.
pub(super) struct Connection {
    stream: FastOpenStream,
    pub(super) plan: Rc<Plan>,
    session: Box<dyn Session>,
    pub(super) peer: SocketAddr,
    pub(super) kept: Option<Box<Kept>>,
    /// What its arrival tells; `None`: nobody looked.
    pub(super) verdict: Option<(Outcome, Option<Cause>)>,
    pending: Pending,
    phase: Phase,
    /// A request has begun: its bytes do not put off the deadline.
    unfinished: bool,
    pub(super) registered: bool,
    /// Counts for its source address.
    pub(super) counted: bool,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// What is kept of a connection's arrival for who asks later.
pub(super) struct Kept {
    pub(super) record: ArrivalRecord,
    /// Once all that the host can say was read.
    pub(super) evidence: Option<ServerEvidence>,
    pub(super) cookie_origin: Option<Origin>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The SYN's data must not be seen before the client has completed the handshake.
    AwaitsHandshake,
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

/// What could not be sent yet.
#[derive(Default)]
struct Pending {
    bytes: Box<[u8]>,
    shared: Option<Arc<[u8]>>,
    /// Of both.
    sent: usize,
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
    /// The server stops.
    pub(super) draining: bool,
}

impl Connection {
    pub(super) fn new(stream: FastOpenStream, peer: SocketAddr, plan: Rc<Plan>) -> Self {
        let started = Instant::now();
        Self {
            stream,
            session: plan.service.session(),
            deadline: started + plan.limits.idle_timeout,
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
        }
    }

    /// Serves it only once its client has completed the handshake.
    pub(super) fn await_handshake(&mut self) {
        self.phase = Phase::AwaitsHandshake;
        self.deadline = self.started + self.plan.limits.header_timeout;
    }

    pub(super) fn stream(&self) -> &FastOpenStream {
        &self.stream
    }

    /// Moves as many bytes as the socket and fairness allow. An error ends the connection.
    pub(super) fn drive(&mut self, tools: &mut Tools) -> io::Result<Step> {
        if self.phase == Phase::AwaitsHandshake {
            if !self.stream.handshake_ended().map_err(io::Error::other)? {
                return Ok(Step::Wait);
            }
            self.phase = Phase::Open;
            self.deadline = Instant::now() + self.plan.limits.idle_timeout;
        }
        for _ in 0..TURNS {
            if !self.flush()? {
                return Ok(Step::Wait);
            }
            let len = match self.phase {
                Phase::Closing => return Ok(Step::Done),
                Phase::Again => 0,
                Phase::Ending => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.phase = Phase::Lingering;
                    self.deadline = Instant::now() + LINGER;
                    continue;
                }
                Phase::AwaitsHandshake | Phase::Open | Phase::Lingering => {
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
            self.bytes_in = self.bytes_in.saturating_add(len as u64);
            self.plan.stats.add(Count::BytesIn, len as u64);
            if self.phase != Phase::Lingering {
                self.hand_over(len, tools)?;
            }
        }
        Ok(Step::Again)
    }

    /// Gives the session what was read, and sends what it says.
    fn hand_over(&mut self, len: usize, tools: &mut Tools) -> io::Result<()> {
        let Tools { buffer, out, date, draining } = tools;
        // Not empty where sending failed: that was for another connection.
        out.bytes.clear();
        let bytes = buffer.get(..len).unwrap_or_default();
        let (plan, kept) = (&self.plan, &mut self.kept);
        let mut evidence = || full_evidence(&plan.observer, kept.as_deref_mut());
        let mut context =
            Context { service: &plan.service, date, draining: *draining, evidence: &mut evidence };
        let next = self.session.received(bytes, out, &mut context);
        self.phase = match next {
            Next::Read | Next::More => Phase::Open,
            Next::Again => Phase::Again,
            Next::Close => Phase::Closing,
            Next::Linger => Phase::Ending,
        };
        let limits = &self.plan.limits;
        if next != Next::More {
            self.unfinished = false;
            self.deadline = Instant::now() + limits.idle_timeout;
        } else if !mem::replace(&mut self.unfinished, true) {
            self.deadline = Instant::now() + limits.header_timeout;
        }
        self.send(out)
    }

    /// Sends what a session has put into `out`; what does not leave at once is kept.
    fn send(&mut self, out: &mut Out) -> io::Result<()> {
        let more = self.fin_follows();
        let shared = out.shared.take();
        let len = out.bytes.len();
        let mut sent = send_all(&self.stream, &out.bytes, more || shared.is_some())?;
        if let Some(shared) = shared.as_deref().filter(|_| sent == len) {
            sent += send_all(&self.stream, shared, more)?;
        }
        self.count_sent(sent);
        if sent < len + shared.as_deref().map_or(0, <[u8]>::len) {
            let kept = sent.min(len);
            let bytes = out.bytes.get(kept..).unwrap_or_default().into();
            self.pending = Pending { bytes, shared, sent: sent - kept };
        }
        Ok(())
    }

    /// Sends what is pending; whether all of it has left.
    fn flush(&mut self) -> io::Result<bool> {
        let more = self.fin_follows();
        let Pending { bytes, shared, sent } = &mut self.pending;
        let (len, all) = (bytes.len(), bytes.len() + shared.as_deref().map_or(0, <[u8]>::len));
        if all == 0 {
            return Ok(true);
        }
        let before = *sent;
        if let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += send_all(&self.stream, rest, more || shared.is_some())?;
        }
        if let Some(rest) =
            shared.as_deref().and_then(|shared| shared.get(sent.checked_sub(len)?..))
        {
            *sent += send_all(&self.stream, rest, more)?;
        }
        let progress = *sent - before;
        let done = *sent == all;
        if done {
            self.pending = Pending::default();
        }
        if progress > 0 {
            self.count_sent(progress);
            self.deadline = Instant::now() + self.plan.limits.idle_timeout;
        }
        Ok(done)
    }

    fn count_sent(&mut self, len: usize) {
        self.bytes_out = self.bytes_out.saturating_add(len as u64);
        self.plan.stats.add(Count::BytesOut, len as u64);
    }

    /// The last bytes and the FIN are to leave in one segment.
    fn fin_follows(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Ending)
    }

    /// Its peer has all answers, and has begun nothing new.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Open && self.session.is_idle()
    }

    /// Ends once what is pending has left.
    pub(super) fn finish(&mut self) {
        self.phase = Phase::Ending;
    }

    /// Which limit its deadline is.
    pub(super) fn late(&self) -> Cut {
        match self.phase {
            Phase::AwaitsHandshake => Cut::HandshakeTimeout,
            _ if self.unfinished => Cut::HeaderTimeout,
            _ => Cut::IdleTimeout,
        }
    }

    /// What is known of its arrival, without a look at the counters.
    pub(super) fn evidence(&mut self) -> Option<ServerEvidence> {
        let kept = self.kept.as_deref_mut()?;
        let observer = &self.plan.observer;
        Some(kept.evidence.take().unwrap_or_else(|| observer.evidence_of(&kept.record)))
    }
}

/// All that is known of an arrival. The counters' change is told once: who has read it keeps it.
fn full_evidence(observer: &ServerObserver, kept: Option<&mut Kept>) -> Option<ServerEvidence> {
    let kept = kept?;
    let evidence = kept.evidence.get_or_insert_with(|| observer.full_evidence_of(&kept.record));
    Some(evidence.clone())
}

/// How much of `bytes` the socket takes now.
fn send_all(mut stream: &FastOpenStream, bytes: &[u8], more: bool) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match if more { stream.write_more(rest) } else { stream.write(rest) } {
            Ok(len) => sent += len,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}
