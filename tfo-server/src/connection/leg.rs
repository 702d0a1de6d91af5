//! One of the sockets whose bytes the server moves: a client's, or that to an upstream.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tfo_core::Result;
use tfo_core::socket::{FastOpenStream, option};

/// A socket, and what is known of its handshake.
pub(super) struct Leg {
    stream: FastOpenStream,
    /// Known, and for good once it is.
    handshake_ended: Cell<bool>,
}

/// What follows the bytes that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterSend {
    /// Nothing for now.
    Nothing,
    /// More bytes, with the next call.
    MoreBytes,
    /// [`Leg::shutdown`], as soon as the last byte is with the kernel.
    Shutdown,
    /// The socket is closed, as soon as the last byte is with the kernel.
    Close,
}

impl Leg {
    /// `handshake_ended`: whether that is known already.
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

    /// Whether the handshake has ended. Asks the kernel until it has.
    pub(super) fn handshake_ended(&self) -> Result<bool> {
        if !self.handshake_ended.get() {
            self.handshake_ended.set(self.stream.handshake_ended()?);
        }
        Ok(self.handshake_ended.get())
    }

    pub(super) fn read(&self, memory: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(memory)
    }

    /// Sends as much of `bytes` as the socket takes now; returns how much.
    ///
    /// The last bytes and the FIN leave in one segment where that costs no time. On a fast open connection whose
    /// handshake is unfinished the kernel defers a shutdown until the client's ACK arrives, and bytes that wait for
    /// the FIN wait with it: the round trip that fast open saved would be lost. A close is not deferred.
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

    /// Sends the FIN once all bytes have left.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Whether bytes wait in the kernel that were not sent yet, not even once.
    pub(super) fn has_unsent(&self) -> bool {
        self.stream.info().is_ok_and(|info| info.notsent_bytes.is_some_and(|bytes| bytes > 0))
    }

    /// Lets the close end the connection with a reset instead of a FIN, which would make a part look whole.
    pub(super) fn reset_on_close(&self) {
        // Fails only on a descriptor that is no socket.
        let _ = option::set_linger(&self.stream, Some(Duration::ZERO));
    }
}

impl AsFd for Leg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
