//! The two sockets of a relay, as far as they are known.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::connection::leg::Leg;

/// What is known of a socket since it last would have blocked.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is learnt by itself")]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Its handshake is known to have ended.
    pub(super) connected: bool,
    /// It took no more bytes, for ever.
    pub(super) broken: bool,
}

impl Readiness {
    pub(super) const NEW: Self =
        Self { readable: true, writable: true, connected: true, broken: false };
}

/// A socket, and what is known of it.
pub(super) struct Endpoint<'a> {
    pub(super) leg: &'a Leg,
    pub(super) ready: &'a mut Readiness,
}

/// A socket's readiness, and its registration with the event loop.
pub(super) struct SocketState {
    pub(super) ready: Readiness,
    /// The events that are asked for.
    pub(super) interest: Option<Interest>,
}

impl SocketState {
    pub(super) const NEW: Self = Self { ready: Readiness::NEW, interest: None };

    pub(super) fn event(&mut self, event: &Event) {
        self.ready.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ready.writable |= event.is_writable() || event.is_error();
    }

    /// Asks for events, for those of writing only if `write`.
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
