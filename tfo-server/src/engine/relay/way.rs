//! One direction between two sockets.

use std::io::{self, Read};
use std::net::Shutdown;

use tfo_core::socket::{FastOpenStream, option};

use super::pipes::{Pipe, Pipes};
use crate::engine::connection::TURNS;
use crate::engine::pending::send_all;

/// So many bytes in one turn are a part of something big,
const LARGE: u64 = 16 * 1024;
/// and so many of them, one turn after the other, are bulk: worth a pipe.
const BULK: u64 = 64 * 1024;

/// What is known of a socket since it last said that it would block.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is learnt by itself")]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Its handshake is known to have ended.
    pub(super) connected: bool,
    /// It took no more bytes, for ever.
    pub(super) broken: bool,
}

impl Ready {
    pub(super) const NEW: Self =
        Self { readable: true, writable: true, connected: true, broken: false };
}

/// A socket, and what is known of it.
pub(super) struct End<'a> {
    pub(super) stream: &'a FastOpenStream,
    pub(super) ready: &'a mut Ready,
}

/// Which end broke, and how.
pub(super) enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

/// What a worker lends.
pub(super) struct Room<'a> {
    /// As large as the most that may be held.
    pub(super) buffer: &'a mut [u8],
    pub(super) pipes: &'a mut Pipes,
}

/// One direction, and what of it has not left yet.
#[derive(Debug)]
pub(super) struct Way {
    held: Vec<u8>,
    /// Of `held`.
    sent: usize,
    pipe: Option<Pipe>,
    /// Bytes of turns that were large, one after the other.
    streak: u64,
    state: State,
    /// The sink sends small pieces at once.
    pub(super) nodelay: bool,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The source has ended; the sink is told once all has left.
    Ending,
    Over,
}

impl Way {
    pub(super) fn new(nodelay: bool) -> Self {
        Self {
            held: Vec::new(),
            sent: 0,
            pipe: None,
            streak: 0,
            state: State::Open,
            nodelay,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// What was read is to be sent from `sent` on.
    pub(super) fn hold(&mut self, bytes: Vec<u8>, sent: usize) {
        (self.held, self.sent) = (bytes, sent);
    }

    /// What is held, all of it.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        self.sent = 0;
        std::mem::take(&mut self.held)
    }

    /// The source has ended, and the sink does not know.
    pub(super) fn is_ending(&self) -> bool {
        self.state == State::Ending
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The source has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn moved(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }

    /// The sink is broken: what was for it is lost.
    pub(super) fn abandon(&mut self) {
        self.take_held();
        self.pipe = None;
        self.state = State::Over;
    }

    /// Reads once, into `bytes`: how many came.
    pub(super) fn read_first(&mut self, from: &mut End<'_>, bytes: &mut [u8]) -> io::Result<usize> {
        match read_once(from, bytes)? {
            Got::Bytes(len) => {
                // A short read has emptied the socket; if not, its registration tells.
                from.ready.readable = len == bytes.len();
                self.bytes_in += len as u64;
                Ok(len)
            }
            Got::End => {
                self.state = State::Ending;
                Ok(0)
            }
            Got::Nothing => Ok(0),
        }
    }

    /// Moves what can be moved without waiting. Whether there may be more at once. With `last` the other
    /// direction is over, and the sink's end need not be told: both are closed.
    pub(super) fn pump(
        &mut self,
        mut from: End<'_>,
        mut to: End<'_>,
        room: &mut Room<'_>,
        last: bool,
    ) -> Result<bool, Broken> {
        let before = self.bytes_in;
        let moved = self.turns(&mut from, &mut to, room, last);
        let large = self.bytes_in - before >= LARGE;
        self.streak = if large { self.streak + self.bytes_in - before } else { 0 };
        moved
    }

    fn turns(
        &mut self,
        from: &mut End<'_>,
        to: &mut End<'_>,
        room: &mut Room<'_>,
        last: bool,
    ) -> Result<bool, Broken> {
        for _ in 0..TURNS {
            if !self.flush(to, room.pipes).map_err(Broken::Sink)? {
                return Ok(false);
            }
            match self.state {
                State::Over => return Ok(false),
                // To shut down a socket that still connects is to abort it.
                State::Ending if !to.ready.connected => return Ok(false),
                State::Ending => {
                    if !last {
                        // It may be gone already: then its other direction says so.
                        let _ = to.stream.shutdown(Shutdown::Write);
                    }
                    self.state = State::Over;
                    return Ok(false);
                }
                // A sink that takes nothing is given nothing to hold.
                State::Open if !from.ready.readable || !to.ready.writable => return Ok(false),
                State::Open if self.streak >= BULK => self.splice(from, room)?,
                State::Open => self.copy(from, to, room)?,
            }
        }
        Ok(true)
    }

    /// Sends what is held; whether all of it has left.
    fn flush(&mut self, to: &mut End<'_>, pipes: &mut Pipes) -> io::Result<bool> {
        if let Some(rest) = self.held.get(self.sent..).filter(|rest| !rest.is_empty()) {
            if !to.ready.writable {
                return Ok(false);
            }
            let sent = send_all(to.stream, rest, self.state == State::Ending)?;
            let all = sent == rest.len();
            self.sent += sent;
            self.bytes_out += sent as u64;
            if !all {
                to.ready.writable = false;
                return Ok(false);
            }
        }
        // Who has nothing to send holds no memory,
        self.take_held();
        // and no pipe.
        let Some(mut pipe) = self.pipe.take() else { return Ok(true) };
        while !pipe.is_empty() {
            match pipe.drain(to.stream) {
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

    /// Reads all that is there, or as much as there is room for, and sends it. Looks for the end first, so
    /// that the last bytes and the FIN can leave in one segment.
    fn copy(
        &mut self,
        from: &mut End<'_>,
        to: &mut End<'_>,
        room: &mut Room<'_>,
    ) -> Result<(), Broken> {
        let mut len = 0;
        let mut failed = None;
        while let Some(free) = room.buffer.get_mut(len..).filter(|free| !free.is_empty()) {
            match read_once(from, free) {
                Ok(Got::Bytes(more)) => len += more,
                Ok(Got::End) => {
                    self.state = State::Ending;
                    break;
                }
                Ok(Got::Nothing) => break,
                // What came before is sent all the same.
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        self.bytes_in += len as u64;
        let bytes = room.buffer.get(..len).unwrap_or_default();
        if !bytes.is_empty() {
            if !self.nodelay && self.bytes_out > 0 {
                // An answer in pieces must not wait for acknowledgments. The first piece never does.
                self.nodelay = true;
                let _ = option::set_nodelay(to.stream, true);
            }
            let more = self.state == State::Ending;
            let sent = send_all(to.stream, bytes, more).map_err(Broken::Sink)?;
            self.bytes_out += sent as u64;
            if sent < len {
                to.ready.writable = false;
                self.held = bytes.get(sent..).unwrap_or_default().to_vec();
            }
        }
        failed.map_or(Ok(()), |e| Err(Broken::Source(e)))
    }

    /// Takes what is there into a pipe, to be sent by the next turn.
    fn splice(&mut self, from: &mut End<'_>, room: &mut Room<'_>) -> Result<(), Broken> {
        let Some(mut pipe) = room.pipes.take() else {
            // No descriptors: copied, as before.
            self.streak = 0;
            return Ok(());
        };
        match pipe.fill(from.stream, room.buffer.len()) {
            Ok(0) if from.ready.broken => return Err(Broken::Source(reset())),
            Ok(0) => self.state = State::Ending,
            Ok(len) => self.bytes_in += len as u64,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => from.ready.readable = false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Broken::Source(e)),
        }
        self.pipe = Some(pipe);
        Ok(())
    }
}

enum Got {
    Bytes(usize),
    Nothing,
    End,
}

fn read_once(from: &mut End<'_>, bytes: &mut [u8]) -> io::Result<Got> {
    let mut stream = from.stream;
    loop {
        match stream.read(bytes) {
            Ok(0) if from.ready.broken => return Err(reset()),
            Ok(0) => {
                from.ready.readable = false;
                return Ok(Got::End);
            }
            Ok(len) => return Ok(Got::Bytes(len)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                from.ready.readable = false;
                return Ok(Got::Nothing);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The error of a socket is told once, to whoever comes first; after that a read says that it is the
/// end.
fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
