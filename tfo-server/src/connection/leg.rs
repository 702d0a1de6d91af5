//! One of a connection's sockets: the client's, or the one to an upstream.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tfo_core::Result;
use tfo_core::socket::{FastOpenStream, option};

/// A nonblocking socket and the state of its handshake.
pub(super) struct Leg {
    stream: FastOpenStream,
    /// Once true, it stays true.
    handshake_ended: Cell<bool>,
}

/// What follows the bytes of a [`Leg::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterSend {
    /// Nothing yet.
    Nothing,
    /// More bytes, by the next call.
    MoreBytes,
    /// [`Leg::shutdown`], once the kernel has accepted the last byte.
    Shutdown,
    /// A close, once the kernel has accepted the last byte.
    Close,
}

impl Leg {
    /// Wraps a socket. `handshake_ended`: whether the handshake is already known to be complete.
    pub(super) fn new(stream: FastOpenStream, handshake_ended: bool) -> Self {
        Self { stream, handshake_ended: Cell::new(handshake_ended) }
    }

    pub(super) fn stream(&self) -> &FastOpenStream {
        &self.stream
    }

    pub(super) fn into_stream(self) -> FastOpenStream {
        self.stream
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Returns whether the handshake is complete. Queries the kernel until it is.
    pub(super) fn handshake_ended(&self) -> Result<bool> {
        if !self.handshake_ended.get() {
            self.handshake_ended.set(self.stream.handshake_ended()?);
        }
        Ok(self.handshake_ended.get())
    }

    pub(super) fn read(&self, memory: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(memory)
    }

    /// Sends as many of `bytes` as the socket accepts now, and returns how many.
    ///
    /// The last bytes and the FIN share a segment unless that would delay the bytes. On a fast open connection whose
    /// handshake is incomplete, the kernel defers a shutdown until the client's ACK arrives. Bytes held back for the
    /// FIN would be deferred with it, and the round trip that fast open saved would be lost. A close is not deferred.
    pub(super) fn send(&self, bytes: &[u8], after: AfterSend) -> io::Result<usize> {
        let more = match after {
            AfterSend::Nothing => false,
            AfterSend::Shutdown => !bytes.is_empty() && self.handshake_ended().unwrap_or(false),
            AfterSend::MoreBytes | AfterSend::Close => true,
        };
        let (mut stream, mut sent) = (&self.stream, 0);
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

    /// Sends the FIN after all bytes.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Returns whether the kernel holds bytes that it has never transmitted.
    pub(super) fn has_unsent(&self) -> bool {
        self.stream.info().is_ok_and(|info| info.notsent_bytes.is_some_and(|bytes| bytes > 0))
    }

    /// Makes the close send a reset instead of a FIN, which would make truncated data look complete.
    pub(super) fn reset_on_close(&self) {
        // Fails only if the descriptor is not a socket.
        let _ = option::set_linger(&self.stream, Some(Duration::ZERO));
    }
}

impl AsFd for Leg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
