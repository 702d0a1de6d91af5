//! One direction of a relay: moves bytes from a source socket to a sink socket.
//!
//! Bytes are copied through the worker's buffer ([`Direction::copy`]). After [`BULK_STREAK`] bytes of bulk transfer
//! they are spliced through a pipe instead ([`Direction::splice`]).
//!
//! Invariants:
//!
//! 1. Bytes are sent in the order in which they were read: nothing is read while bytes are unsent or in a pipe.
//! 2. Nothing is read while the sink would block, so nothing needs to be held for it.
//! 3. The source's end is passed on after all of its bytes ([`DirectionState::Ending`]).

use std::io;

use tfo_core::socket::option;

use super::socket::Endpoint;
use crate::connection::leg::AfterSend;
use crate::connection::pipes::{Pipe, Pipes};
use crate::connection::send_buffer::SendBuffer;
use crate::connection::turn::{LentInput, TurnBudget};

/// Minimum bytes per turn to count towards a bulk transfer.
const BULK_TURN: u64 = 16 * 1024;
/// Number of consecutive bytes, in turns of at least [`BULK_TURN`], that make a bulk transfer, which is worth a pipe.
const BULK_STREAK: u64 = 64 * 1024;

/// The error of a direction, with the socket that failed.
pub(super) enum PumpError {
    Source(io::Error),
    Sink(io::Error),
}

/// The resources that the worker lends to a direction for a turn.
pub(super) struct PumpScratch<'a, 'b> {
    /// As large as the number of bytes that may be held.
    pub(super) input: &'a mut LentInput<'b>,
    pub(super) pipes: &'a mut Pipes,
}

/// One direction, and the bytes that were read but not sent yet.
#[derive(Debug)]
pub(super) struct Direction {
    unsent: Option<Box<SendBuffer>>,
    pipe: Option<Box<Pipe>>,
    /// Number of bytes moved in consecutive turns of at least [`BULK_TURN`].
    streak: u64,
    state: DirectionState,
    /// `TCP_NODELAY` is set on the sink.
    pub(super) nodelay: bool,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DirectionState {
    Open,
    /// The source has ended; the sink is shut down once all bytes are sent.
    Ending,
    Over,
}

impl Direction {
    pub(super) fn new(nodelay: bool) -> Self {
        Self {
            unsent: None,
            pipe: None,
            streak: 0,
            state: DirectionState::Open,
            nodelay,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Holds bytes to send, of which the first `sent` were sent already.
    pub(super) fn hold(&mut self, bytes: Vec<u8>, sent: usize) {
        self.unsent = Some(Box::new(SendBuffer::new(bytes, sent)));
    }

    /// Takes the held bytes, including those already sent.
    pub(super) fn take_unsent(&mut self) -> Vec<u8> {
        self.unsent.take().map_or_else(Vec::new, |unsent| unsent.into_bytes())
    }

    /// Returns whether the source has ended and the sink is not shut down yet.
    pub(super) fn is_ending(&self) -> bool {
        self.state == DirectionState::Ending
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == DirectionState::Over
    }

    /// Returns whether the source has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.state == DirectionState::Open
    }

    pub(super) fn moved(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }

    /// Discards all bytes for a sink that has failed.
    pub(super) fn abandon(&mut self) {
        self.unsent = None;
        self.pipe = None;
        self.state = DirectionState::Over;
    }

    /// Reads the first bytes. Called once.
    pub(super) fn read_first(
        &mut self,
        from: &mut Endpoint<'_>,
        input: &mut LentInput<'_>,
    ) -> io::Result<()> {
        input.clear();
        match read_once(from, input)? {
            ReadOutcome::Bytes => {
                // A short read has emptied the socket. If bytes arrived since, registering the socket reports them.
                from.ready.readable = input.is_full();
                self.bytes_in += input.bytes().len() as u64;
            }
            ReadOutcome::End => self.state = DirectionState::Ending,
            ReadOutcome::WouldBlock => {}
        }
        Ok(())
    }

    /// Moves bytes until one of the sockets would block or the turn's budget is spent. Returns whether more can be
    /// moved at once. `last`: the other direction is over, so the sink is not shut down: both sockets are closed.
    pub(super) fn pump(
        &mut self,
        mut from: Endpoint<'_>,
        mut to: Endpoint<'_>,
        scratch: &mut PumpScratch<'_, '_>,
        last: bool,
    ) -> Result<bool, PumpError> {
        let before = self.bytes_in;
        let moved = self.turns(&mut from, &mut to, scratch, last);
        let large = self.bytes_in - before >= BULK_TURN;
        self.streak = if large { self.streak + self.bytes_in - before } else { 0 };
        moved
    }

    fn turns(
        &mut self,
        from: &mut Endpoint<'_>,
        to: &mut Endpoint<'_>,
        scratch: &mut PumpScratch<'_, '_>,
        last: bool,
    ) -> Result<bool, PumpError> {
        let mut budget = TurnBudget::new();
        loop {
            if !self.flush(to, scratch.pipes, last).map_err(PumpError::Sink)? {
                return Ok(false);
            }
            let before = self.bytes_in;
            match self.state {
                DirectionState::Over => return Ok(false),
                // Shutting down a socket that is connecting would abort the connection.
                DirectionState::Ending if !to.ready.connected => return Ok(false),
                DirectionState::Ending => {
                    if !last {
                        // Ignored: if the socket has failed, its other direction reports the error.
                        let _ = to.leg.shutdown();
                    }
                    self.state = DirectionState::Over;
                    return Ok(false);
                }
                // A sink that would block is given nothing to hold.
                DirectionState::Open if !from.ready.readable || !to.ready.writable => {
                    return Ok(false);
                }
                DirectionState::Open if budget.is_spent() => return Ok(true),
                DirectionState::Open if self.streak >= BULK_STREAK => self.splice(from, scratch)?,
                DirectionState::Open => self.copy(from, to, scratch.input, last)?,
            }
            budget.spend(usize::try_from(self.bytes_in - before).unwrap_or(usize::MAX));
        }
    }

    /// Sends more of the unsent bytes. Returns whether all were sent.
    fn flush(&mut self, to: &mut Endpoint<'_>, pipes: &mut Pipes, last: bool) -> io::Result<bool> {
        let after = self.after_send(last);
        if let Some(unsent) = self.unsent.as_deref_mut().filter(|unsent| !unsent.is_empty()) {
            if !to.ready.writable {
                return Ok(false);
            }
            self.bytes_out += unsent.flush(to.leg, after)? as u64;
            if !unsent.is_empty() {
                to.ready.writable = false;
                return Ok(false);
            }
        }
        // Release the buffer and the pipe once all data is sent.
        self.unsent = None;
        let Some(mut pipe) = self.pipe.take() else { return Ok(true) };
        while !pipe.is_empty() {
            match pipe.drain(to.leg) {
                Ok(len) => self.bytes_out += len as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    to.ready.writable = false;
                    self.pipe = Some(pipe);
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
        pipes.give_back(pipe);
        Ok(true)
    }

    /// Returns what follows the bytes that are sent now.
    fn after_send(&self, last: bool) -> AfterSend {
        match self.state {
            DirectionState::Ending if last => AfterSend::Close,
            DirectionState::Ending => AfterSend::Shutdown,
            DirectionState::Open | DirectionState::Over => AfterSend::Nothing,
        }
    }

    /// Reads until the source would block or the buffer is full, then sends. Reading up to the end of the source lets
    /// the last bytes and the FIN share a segment.
    fn copy(
        &mut self,
        from: &mut Endpoint<'_>,
        to: &mut Endpoint<'_>,
        input: &mut LentInput<'_>,
        last: bool,
    ) -> Result<(), PumpError> {
        let mut failed = None;
        input.clear();
        while !input.is_full() {
            match read_once(from, input) {
                Ok(ReadOutcome::Bytes) => {}
                Ok(ReadOutcome::End) => {
                    self.state = DirectionState::Ending;
                    break;
                }
                Ok(ReadOutcome::WouldBlock) => break,
                // The bytes read before the error are still sent.
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        let bytes = input.bytes();
        self.bytes_in += bytes.len() as u64;
        if !bytes.is_empty() {
            if !self.nodelay && self.bytes_out > 0 {
                // Later pieces of a reply must not wait for acknowledgments. The first piece never does.
                self.nodelay = true;
                let _ = option::set_nodelay(to.leg, true);
            }
            let sent = to.leg.send(bytes, self.after_send(last)).map_err(PumpError::Sink)?;
            self.bytes_out += sent as u64;
            if sent < bytes.len() {
                to.ready.writable = false;
                self.hold(bytes.get(sent..).unwrap_or_default().to_vec(), 0);
            }
        }
        failed.map_or(Ok(()), |e| Err(PumpError::Source(e)))
    }

    /// Moves readable bytes into a pipe, from which the next turn sends them.
    fn splice(
        &mut self,
        from: &mut Endpoint<'_>,
        scratch: &mut PumpScratch<'_, '_>,
    ) -> Result<(), PumpError> {
        let Some(mut pipe) = scratch.pipes.take() else {
            // No descriptors are left: copy, as before.
            self.streak = 0;
            return Ok(());
        };
        match pipe.fill(from.leg, scratch.input.capacity()) {
            Ok(0) if from.ready.broken => return Err(PumpError::Source(reset())),
            Ok(0) => self.state = DirectionState::Ending,
            Ok(len) => self.bytes_in += len as u64,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => from.ready.readable = false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(PumpError::Source(e)),
        }
        self.pipe = Some(pipe);
        Ok(())
    }
}

enum ReadOutcome {
    Bytes,
    WouldBlock,
    End,
}

fn read_once(from: &mut Endpoint<'_>, input: &mut LentInput<'_>) -> io::Result<ReadOutcome> {
    loop {
        match input.read(|memory| from.leg.read(memory)) {
            Ok(0) if from.ready.broken => return Err(reset()),
            Ok(0) => {
                from.ready.readable = false;
                return Ok(ReadOutcome::End);
            }
            Ok(_) => return Ok(ReadOutcome::Bytes),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                from.ready.readable = false;
                return Ok(ReadOutcome::WouldBlock);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The kernel reports a socket error only to the first call; later reads return end of file.
fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
