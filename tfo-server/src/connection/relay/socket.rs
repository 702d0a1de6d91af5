//! The state of a relay's two sockets.
//!
//! Sockets are registered edge-triggered: [`Readiness`] is set by events and cleared by calls that would block.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::connection::leg::Leg;

/// The state of a socket, as shown by the last calls and events.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is learned independently")]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The handshake is known to be complete.
    pub(super) connected: bool,
    /// The socket failed when sending: it accepts no more bytes.
    pub(super) broken: bool,
}

impl Readiness {
    pub(super) const NEW: Self =
        Self { readable: true, writable: true, connected: true, broken: false };
}

/// A socket and its readiness.
pub(super) struct Endpoint<'a> {
    pub(super) leg: &'a Leg,
    pub(super) ready: &'a mut Readiness,
}

/// A socket's readiness and its registration with the event loop.
pub(super) struct SocketState {
    pub(super) ready: Readiness,
    /// The registered events; `None` if the socket is not registered.
    pub(super) interest: Option<Interest>,
}

impl SocketState {
    pub(super) const NEW: Self = Self { ready: Readiness::NEW, interest: None };

    pub(super) fn event(&mut self, event: &Event) {
        self.ready.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ready.writable |= event.is_writable() || event.is_error();
    }

    /// Registers for read events, and if `write` also for write events.
    pub(super) fn register(
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
