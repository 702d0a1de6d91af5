//! A connection whose first bytes are sent in the SYN; otherwise a stream like any other.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::option;
use crate::error::Result;
use crate::socket::{Attempt, TcpInfo, TcpState};
use crate::sys::socket;

/// A TCP connection, made or accepted with fast open.
///
/// [`connect`](Self::connect) takes the first bytes. They are sent in the SYN if a cookie for the server is cached;
/// otherwise the kernel asks for one, and they follow after the handshake. Either way they are sent when it
/// returns, and the connection works. [`info`](Self::info) (`syn_data`) shows whether a round trip was saved, and
/// [`diagnosis`](crate::diagnosis) explains why not.
///
/// Send only **idempotent** first messages: a SYN that the network duplicates may deliver them to the server twice
/// ([RFC 7413, section 6.1](https://www.rfc-editor.org/rfc/rfc7413#section-6.1)).
#[derive(Debug)]
pub struct FastOpenStream {
    stream: TcpStream,
    attempt: Option<Attempt>,
}

impl FastOpenStream {
    pub(super) fn connected(fd: OwnedFd, attempt: Option<Attempt>) -> Self {
        Self { stream: TcpStream::from(fd), attempt }
    }

    pub(super) fn accepted(fd: OwnedFd) -> Self {
        Self { stream: TcpStream::from(fd), attempt: None }
    }

    /// Creates another handle to the connection, as [`TcpStream::try_clone`].
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, attempt: self.attempt })
    }

    /// Returns what the kernel did with the first bytes. `None` on a connection that was accepted, or that another
    /// type made.
    #[must_use]
    pub fn attempt(&self) -> Option<Attempt> {
        self.attempt
    }

    /// Returns what the kernel reports about the connection now.
    ///
    /// # Errors
    /// The kernel refused `TCP_INFO`.
    pub fn info(&self) -> Result<TcpInfo> {
        option::tcp_info(self)
    }

    /// Returns the local address.
    ///
    /// # Errors
    /// As [`TcpStream::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Returns the remote address.
    ///
    /// # Errors
    /// As [`TcpStream::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Sets the maximum time that a read may wait; `None`: forever.
    ///
    /// # Errors
    /// As [`TcpStream::set_read_timeout`]: zero is refused.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// Returns the maximum time that a read may wait; `None`: forever.
    ///
    /// # Errors
    /// As [`TcpStream::read_timeout`].
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.stream.read_timeout()
    }

    /// Sets the maximum time that a write may wait; `None`: forever.
    ///
    /// # Errors
    /// As [`TcpStream::set_write_timeout`]: zero is refused.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(timeout)
    }

    /// Returns the maximum time that a write may wait; `None`: forever.
    ///
    /// # Errors
    /// As [`TcpStream::write_timeout`].
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.stream.write_timeout()
    }

    /// Sets whether small segments are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As [`TcpStream::set_nodelay`].
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.stream.set_nodelay(on)
    }

    /// Returns whether small segments are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As [`TcpStream::nodelay`].
    pub fn nodelay(&self) -> io::Result<bool> {
        self.stream.nodelay()
    }

    /// Sets the TTL of the connection's IPv4 packets.
    ///
    /// # Errors
    /// As [`TcpStream::set_ttl`].
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.stream.set_ttl(ttl)
    }

    /// Returns the TTL of the connection's IPv4 packets.
    ///
    /// # Errors
    /// As [`TcpStream::ttl`].
    pub fn ttl(&self) -> io::Result<u32> {
        self.stream.ttl()
    }

    /// Sets after which idle time the kernel probes whether the peer is still there; `None`: never. See
    /// [`option::set_keepalive`].
    ///
    /// # Errors
    /// The kernel refused the option.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> Result<()> {
        option::set_keepalive(self, idle)
    }

    /// Returns after which idle time the kernel probes whether the peer is still there; `None`: never.
    ///
    /// # Errors
    /// The kernel refused the option.
    pub fn keepalive(&self) -> Result<Option<Duration>> {
        option::keepalive(self)
    }

    /// Copies received bytes into `buffer`, and leaves them for the next read.
    ///
    /// # Errors
    /// As [`TcpStream::peek`].
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(buffer)
    }

    /// Sets whether reads and writes return at once.
    ///
    /// # Errors
    /// As [`TcpStream::set_nonblocking`].
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.stream.set_nonblocking(on)
    }

    /// Sends with `MSG_MORE`: a last segment that is not full waits for more bytes, for the FIN, or for at most
    /// 200 ms, so that the last bytes and the FIN leave in one segment.
    ///
    /// Do not use it before [`shutdown`](Self::shutdown) while the handshake of an accepted fast open connection is
    /// unfinished ([`handshake_ended`](Self::handshake_ended)): the kernel defers that shutdown until the client's
    /// ACK arrives, the 200 ms do not run, and the bytes wait with the FIN. The round trip that fast open saved is
    /// lost. Closing the socket is not deferred: waiting bytes leave with the FIN at once.
    ///
    /// # Errors
    /// As `send(2)`.
    #[doc(alias = "MSG_MORE")]
    pub fn write_more(&self, data: &[u8]) -> io::Result<usize> {
        socket::send(self, data, true)
    }

    /// Returns whether the handshake has ended. A connection that was accepted with data in its SYN may be read and
    /// written before.
    ///
    /// # Errors
    /// The kernel refused `TCP_INFO`.
    pub fn handshake_ended(&self) -> Result<bool> {
        option::tcp_bits(self).map(|tcp| tcp.state != TcpState::SynRecv)
    }

    /// Returns and clears the pending error of the socket, which a non-blocking connection may have.
    ///
    /// # Errors
    /// As [`TcpStream::take_error`].
    #[doc(alias = "SO_ERROR")]
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.stream.take_error()
    }

    /// Shuts down the sending or the receiving half, or both.
    ///
    /// # Errors
    /// As [`TcpStream::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }
}

impl Read for FastOpenStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.stream.read_vectored(buffers)
    }
}

impl Read for &FastOpenStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.stream).read_vectored(buffers)
    }
}

impl Write for FastOpenStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        // `writev`, which `TcpStream` calls, raises SIGPIPE.
        socket::send_vectored(self, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &FastOpenStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&self.stream).write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        // `writev`, which `TcpStream` calls, raises SIGPIPE.
        socket::send_vectored(*self, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for FastOpenStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for FastOpenStream {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl IntoRawFd for FastOpenStream {
    fn into_raw_fd(self) -> RawFd {
        self.stream.into_raw_fd()
    }
}

/// Adopts a connection that another type made or accepted; its [`attempt`](FastOpenStream::attempt) is `None`.
impl From<TcpStream> for FastOpenStream {
    fn from(stream: TcpStream) -> Self {
        Self { stream, attempt: None }
    }
}

/// Adopts a TCP socket.
impl From<OwnedFd> for FastOpenStream {
    fn from(fd: OwnedFd) -> Self {
        TcpStream::from(fd).into()
    }
}

impl From<FastOpenStream> for TcpStream {
    fn from(stream: FastOpenStream) -> Self {
        stream.stream
    }
}

impl From<FastOpenStream> for OwnedFd {
    fn from(stream: FastOpenStream) -> Self {
        stream.stream.into()
    }
}
