//! One connection: its bytes between the socket and its session.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::ServerEvidence;
use tfo_core::observer::ServerObserver;
use tfo_core::socket::{Accepted, Arrival, FastOpenStream};

use crate::service::{Context, Next, Session};

/// How often one connection may read before the others have their turn.
const TURNS: usize = 16;
/// How long a closing connection waits for the peer's end. Closing with unread bytes would turn the
/// FIN into a reset, and the peer could lose the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A connection being served.
pub(super) struct Connection {
    stream: FastOpenStream,
    pub(super) arrival: Arrival,
    session: Box<dyn Session>,
    pub(super) evidence: Option<ServerEvidence>,
    pub(super) cookie_origin: Option<Origin>,
    out: Vec<u8>,
    sent: usize,
    phase: Phase,
    pub(super) registered: bool,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Reads and answers.
    Open,
    /// The session or the peer has ended; what is in `out` still leaves.
    Closing,
    /// Our end is closed; reads on until the peer has closed too.
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

impl Connection {
    pub(super) fn new(accepted: Accepted, session: Box<dyn Session>, idle: Duration) -> Self {
        let started = Instant::now();
        Self {
            stream: accepted.stream,
            arrival: accepted.arrival,
            session,
            evidence: None,
            cookie_origin: None,
            out: Vec::new(),
            sent: 0,
            phase: Phase::Open,
            registered: false,
            started,
            deadline: started + idle,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub(super) fn stream(&self) -> &FastOpenStream {
        &self.stream
    }

    /// Moves as many bytes as the socket and fairness allow. An error ends the connection.
    pub(super) fn drive(
        &mut self,
        buffer: &mut [u8],
        observer: &mut ServerObserver,
        idle: Duration,
    ) -> io::Result<Step> {
        for _ in 0..TURNS {
            if !self.flush(idle)? {
                return Ok(Step::Wait);
            }
            if self.phase == Phase::Closing {
                self.stream.shutdown(Shutdown::Write)?;
                self.phase = Phase::Lingering;
                self.deadline = Instant::now() + LINGER;
            }
            let len = match (&self.stream).read(buffer) {
                // Nothing is left to lose: the peer has closed, and all of its bytes are read.
                Ok(0) if self.phase == Phase::Lingering => return Ok(Step::Done),
                Ok(0) => {
                    self.phase = Phase::Closing;
                    // What was put into `out` has left already: the end needs no further wait.
                    return Ok(Step::Done);
                }
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.bytes_in = self.bytes_in.saturating_add(len as u64);
            if self.phase == Phase::Open {
                self.deadline = Instant::now() + idle;
                let mut context =
                    Context { arrival: &self.arrival, observer, evidence: &mut self.evidence };
                let bytes = buffer.get(..len).unwrap_or_default();
                if self.session.received(bytes, &mut self.out, &mut context) == Next::Close {
                    self.phase = Phase::Closing;
                }
            }
        }
        Ok(Step::Again)
    }

    /// Sends what is in `out`; whether all of it has left.
    fn flush(&mut self, idle: Duration) -> io::Result<bool> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match (&self.stream).write(rest) {
                Ok(sent) => {
                    self.sent += sent;
                    self.bytes_out = self.bytes_out.saturating_add(sent as u64);
                    self.deadline = Instant::now() + idle;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.sent = 0;
        // An idle connection holds no buffer.
        self.out = Vec::new();
        Ok(true)
    }
}
