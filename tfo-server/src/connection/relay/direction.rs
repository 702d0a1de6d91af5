//! One direction between two sockets.

use std::io;

use tfo_core::socket::option;

use crate::connection::leg::{Leg, Then};
use crate::connection::pipes::{Pipe, Pipes};
use crate::connection::turn::{Filling, Share};

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
    pub(super) leg: &'a Leg,
    pub(super) ready: &'a mut Ready,
}

/// Which end broke, and how.
pub(super) enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

/// What a worker lends.
pub(super) struct Scratch<'a, 'b> {
    /// As large as the most that may be held.
    pub(super) read: &'a mut Filling<'b>,
    pub(super) pipes: &'a mut Pipes,
}

/// One direction, and what of it has not left yet.
#[derive(Debug)]
pub(super) struct Way {
    held: Option<Box<Held>>,
    pipe: Option<Box<Pipe>>,
    /// Bytes of turns that were large, one after the other.
    streak: u64,
    state: State,
    /// The sink sends small pieces at once.
    pub(super) nodelay: bool,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// Bytes that the sink did not take.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    sent: usize,
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
            held: None,
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
        self.held = Some(Box::new(Held { bytes, sent }));
    }

    /// What is held, all of it.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        self.held.take().map_or_else(Vec::new, |held| held.bytes)
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
        self.held = None;
        self.pipe = None;
        self.state = State::Over;
    }

    /// Reads once.
    pub(super) fn read_first(
        &mut self,
        from: &mut End<'_>,
        read: &mut Filling<'_>,
    ) -> io::Result<()> {
        read.clear();
        match read_once(from, read)? {
            Got::Bytes(len) => {
                // A short read has emptied the socket; if not, its registration tells.
                from.ready.readable = read.is_full();
                self.bytes_in += len as u64;
            }
            Got::End => self.state = State::Ending,
            Got::Nothing => {}
        }
        Ok(())
    }

    /// Moves what can be moved without waiting. Whether there may be more at once. With `last` the other
    /// direction is over, and the sink's end need not be told: both are closed.
    pub(super) fn pump(
        &mut self,
        mut from: End<'_>,
        mut to: End<'_>,
        scratch: &mut Scratch<'_, '_>,
        last: bool,
    ) -> Result<bool, Broken> {
        let before = self.bytes_in;
        let moved = self.turns(&mut from, &mut to, scratch, last);
        let large = self.bytes_in - before >= LARGE;
        self.streak = if large { self.streak + self.bytes_in - before } else { 0 };
        moved
    }

    fn turns(
        &mut self,
        from: &mut End<'_>,
        to: &mut End<'_>,
        scratch: &mut Scratch<'_, '_>,
        last: bool,
    ) -> Result<bool, Broken> {
        let mut share = Share::new();
        loop {
            if !self.flush(to, scratch.pipes, last).map_err(Broken::Sink)? {
                return Ok(false);
            }
            let before = self.bytes_in;
            match self.state {
                State::Over => return Ok(false),
                // To shut down a socket that still connects is to abort it.
                State::Ending if !to.ready.connected => return Ok(false),
                State::Ending => {
                    if !last {
                        // It may be gone already: then its other direction says so.
                        let _ = to.leg.shutdown();
                    }
                    self.state = State::Over;
                    return Ok(false);
                }
                // A sink that takes nothing is given nothing to hold.
                State::Open if !from.ready.readable || !to.ready.writable => return Ok(false),
                State::Open if share.is_spent() => return Ok(true),
                State::Open if self.streak >= BULK => self.splice(from, scratch)?,
                State::Open => self.copy(from, to, scratch.read, last)?,
            }
            share.spend(usize::try_from(self.bytes_in - before).unwrap_or(usize::MAX));
        }
    }

    /// Sends what is held; whether all of it has left.
    fn flush(&mut self, to: &mut End<'_>, pipes: &mut Pipes, last: bool) -> io::Result<bool> {
        let then = self.then(last);
        if let Some(Held { bytes, sent }) = self.held.as_deref_mut() {
            let rest = bytes.get(*sent..).unwrap_or_default();
            if !rest.is_empty() && !to.ready.writable {
                return Ok(false);
            }
            let len = to.leg.send(rest, then)?;
            *sent += len;
            self.bytes_out += len as u64;
            if len < rest.len() {
                to.ready.writable = false;
                return Ok(false);
            }
        }
        // Nothing waits: neither memory nor a pipe is held.
        self.held = None;
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

    /// What follows the bytes that are sent now.
    fn then(&self, last: bool) -> Then {
        match self.state {
            State::Ending if last => Then::Close,
            State::Ending => Then::Shutdown,
            State::Open | State::Over => Then::Nothing,
        }
    }

    /// Reads all that is there, or as much as there is room for, and sends it. Looks for the end first, so
    /// that the last bytes and the FIN can leave in one segment.
    fn copy(
        &mut self,
        from: &mut End<'_>,
        to: &mut End<'_>,
        read: &mut Filling<'_>,
        last: bool,
    ) -> Result<(), Broken> {
        let mut failed = None;
        read.clear();
        while !read.is_full() {
            match read_once(from, read) {
                Ok(Got::Bytes(_)) => {}
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
        let bytes = read.bytes();
        self.bytes_in += bytes.len() as u64;
        if !bytes.is_empty() {
            if !self.nodelay && self.bytes_out > 0 {
                // An answer in pieces must not wait for acknowledgments. The first piece never does.
                self.nodelay = true;
                let _ = option::set_nodelay(to.leg, true);
            }
            let sent = to.leg.send(bytes, self.then(last)).map_err(Broken::Sink)?;
            self.bytes_out += sent as u64;
            if sent < bytes.len() {
                to.ready.writable = false;
                self.hold(bytes.get(sent..).unwrap_or_default().to_vec(), 0);
            }
        }
        failed.map_or(Ok(()), |e| Err(Broken::Source(e)))
    }

    /// Takes what is there into a pipe, to be sent by the next turn.
    fn splice(&mut self, from: &mut End<'_>, scratch: &mut Scratch<'_, '_>) -> Result<(), Broken> {
        let Some(mut pipe) = scratch.pipes.take() else {
            // No descriptors: copied, as before.
            self.streak = 0;
            return Ok(());
        };
        match pipe.fill(from.leg, scratch.read.capacity()) {
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

fn read_once(from: &mut End<'_>, read: &mut Filling<'_>) -> io::Result<Got> {
    loop {
        match read.read(|memory| from.leg.read(memory)) {
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
