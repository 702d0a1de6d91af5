//! A listener for tokio that accepts data in SYNs.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::net::{TcpListener, TcpStream};

use crate::error::Result;
use crate::socket::{self, Arrival, ListenerBuilder, option};

/// A TCP listener for tokio with fast open. It takes two file descriptors.
#[derive(Debug)]
pub struct FastOpenListener {
    /// Another file descriptor of the same socket, because tokio owns what it registers.
    registered: TcpListener,
    listener: socket::FastOpenListener,
}

impl FastOpenListener {
    /// Listens on `address`, with the defaults of [`ListenerBuilder`].
    ///
    /// # Errors
    /// As [`ListenerBuilder::listen`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::listen(&socket::FastOpenListener::builder(address))
    }

    /// Listens with these options.
    ///
    /// # Errors
    /// As [`ListenerBuilder::listen`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn listen(builder: &ListenerBuilder) -> io::Result<Self> {
        Self::register(builder.clone().nonblocking(true).listen()?)
    }

    /// Turns fast open on for a listener of tokio, and keeps its backlog. Connections that came before can be accepted.
    ///
    /// # Errors
    /// The kernel refused an option.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn from_tokio(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        // For a listener this is the backlog.
        let backlog = option::tcp_info(&listener)?.sacked.unwrap_or(1024);
        Self::adopt(&socket::FastOpenListener::builder(address).backlog(backlog), listener)
    }

    /// Turns fast open on for a listener of tokio, with these options. See [`ListenerBuilder::adopt`].
    ///
    /// # Errors
    /// As [`ListenerBuilder::adopt`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn adopt(builder: &ListenerBuilder, listener: TcpListener) -> io::Result<Self> {
        let fd = OwnedFd::from(listener.into_std()?);
        Self::register(builder.clone().nonblocking(true).adopt(fd)?)
    }

    fn register(listener: socket::FastOpenListener) -> io::Result<Self> {
        let fd = listener.as_fd().try_clone_to_owned()?;
        Ok(Self { registered: TcpListener::from_std(fd.into())?, listener })
    }

    /// Waits for the next connection. One with data in its SYN is returned at once, before its handshake has ended;
    /// [`Accepted::arrival`] shows how it came.
    ///
    /// Cancel safe: no connection is lost when the future is dropped.
    ///
    /// # Errors
    /// As [`socket::FastOpenListener::accept`].
    pub async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = self.accept_raw().await?;
        let arrival = self.arrival(&stream, peer)?;
        Ok(Accepted { stream, arrival })
    }

    /// Like [`accept`](Self::accept), without reading how the connection arrived. That saves two system calls, or
    /// postpones them: see [`arrival`](Self::arrival).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn accept_raw(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.registered.accept().await?;
        self.listener.admit(&stream)?;
        Ok((stream, peer))
    }

    /// Polls for the next connection, for one task at a time. See [`accept_raw`](Self::accept_raw).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept_raw(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (stream, peer) = ready!(self.registered.poll_accept(cx))?;
        self.listener.admit(&stream)?;
        Poll::Ready(Ok((stream, peer)))
    }

    /// Reads how a connection of [`accept_raw`](Self::accept_raw) arrived. The kernel returns a saved SYN only once.
    ///
    /// # Errors
    /// The kernel refused `TCP_INFO`.
    pub fn arrival(&self, stream: &TcpStream, peer: SocketAddr) -> Result<Arrival> {
        self.get_ref().arrival(stream, peer)
    }

    /// Returns the listen address, with the port that the kernel chose if 0 was requested.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Returns the listener without tokio, for its options: queue, keys, and closing without loss.
    #[must_use]
    pub fn get_ref(&self) -> &socket::FastOpenListener {
        &self.listener
    }
}

impl AsFd for FastOpenListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

/// As [`FastOpenListener::from_tokio`].
impl TryFrom<TcpListener> for FastOpenListener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> Result<Self, io::Error> {
        Self::from_tokio(listener)
    }
}

/// An accepted connection, and how it arrived. Reads and writes as its stream does.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// How the connection arrived.
    pub arrival: Arrival,
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
