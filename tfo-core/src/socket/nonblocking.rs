//! A connection for an event loop: no call waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::option;
use crate::connection::FastOpenStatus;
use crate::diagnosis::Attempt;
use crate::error::Result;
use crate::sys::socket;

/// A connection that [`Connector::start`](super::Connector::start) began: nothing on it waits, and nothing of it is
/// allocated.
///
/// ```no_run
/// # use tfo_core::socket::{Connector, Epoll, Events, Interest};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let stream = Connector::default().start("192.0.2.1:2222".parse()?, b"hello\n")?;
/// let epoll = Epoll::new()?;
/// epoll.add(&stream, 1, Interest::Both)?;
/// let mut events = Events::with_capacity(1);
/// epoll.wait(&mut events, None)?;
/// let rest = &b"hello\n"[stream.in_syn()..];
/// if events.iter().any(|event| event.is_writable()) && !rest.is_empty() {
///     stream.send(rest)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NonblockingStream {
    fd: OwnedFd,
    attempt: Attempt,
}

impl NonblockingStream {
    pub(super) fn new(fd: OwnedFd, attempt: Attempt) -> Self {
        Self { fd, attempt }
    }

    /// What the kernel did with the first bytes.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// How many of the first bytes the kernel took; the others are to be sent once the socket is writable.
    #[must_use]
    pub fn in_syn(&self) -> usize {
        if let Attempt::InSyn(bytes) = self.attempt { bytes } else { 0 }
    }

    /// `send(2)`. Never raises SIGPIPE.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: there is no room now. Others end the connection.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        socket::send(&self.fd, data)
    }

    /// `recv(2)`; 0 is the stream's end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: nothing is there now. Others end the connection; among them is the
    /// network's answer to the SYN.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        socket::recv(&self.fd, buffer)
    }

    /// `getsockopt(SO_ERROR)`: takes the error that ended the connection, if there is one.
    ///
    /// # Errors
    /// That error.
    pub fn take_error(&self) -> io::Result<()> {
        option::take_error(&self.fd)
    }

    /// What became of fast open. Settled once the handshake has ended.
    ///
    /// # Errors
    /// As [`option::fastopen_status`].
    pub fn fastopen_status(&self) -> Result<FastOpenStatus> {
        option::fastopen_status(&self.fd)
    }

    /// Closes with a RST: neither end keeps the connection (`TIME_WAIT`), and data on its way is lost.
    ///
    /// # Errors
    /// The kernel refused `SO_LINGER`; it is closed all the same.
    pub fn reset(self) -> Result<()> {
        option::set_linger(&self.fd, Some(Duration::ZERO))
    }
}

impl AsFd for NonblockingStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<NonblockingStream> for OwnedFd {
    fn from(stream: NonblockingStream) -> Self {
        stream.fd
    }
}
