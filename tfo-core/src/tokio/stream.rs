//! A connection for tokio whose first bytes are sent in the SYN.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::net::TcpStream;

use super::opening::{Held, Lesson, Opening, Phase};
use super::split::split;
use super::{Handshake, ReadHalf, WriteHalf};
use crate::error::Result;
use crate::socket::{TcpInfo, option};

/// A TCP connection for tokio, made with fast open.
///
/// Behaves as a [`TcpStream`], also before its SYN has been sent: see [the module](super#the-first-write).
///
/// Send only **idempotent** first messages: a SYN that the network duplicates may deliver them to the server twice
/// ([RFC 7413, section 6.1](https://www.rfc-editor.org/rfc/rfc7413#section-6.1)). A TLS `ClientHello` is one.
#[derive(Debug)]
pub struct FastOpenStream {
    stream: TcpStream,
    opening: Arc<Opening>,
    held: Held,
    /// Owned until the stream, or both halves, are dropped.
    lesson: Option<Arc<Lesson>>,
}

impl FastOpenStream {
    pub(super) fn new(stream: TcpStream, opening: Opening, lesson: Option<Arc<Lesson>>) -> Self {
        Self { stream, opening: Arc::new(opening), held: Held::default(), lesson }
    }

    /// Returns a handle that reports what happened in the handshake.
    #[must_use]
    pub fn handshake(&self) -> Handshake {
        self.opening.watch(&self.stream);
        Handshake::new(&self.opening)
    }

    /// Returns what the kernel reports about the connection now.
    ///
    /// # Errors
    /// The kernel refused `TCP_INFO`.
    pub fn info(&self) -> Result<TcpInfo> {
        option::tcp_info(&self.stream)
    }

    /// Waits until the handshake has ended. Sends the SYN if it waits for the first write.
    ///
    /// # Errors
    /// The connection could not be made.
    pub async fn established(&mut self) -> io::Result<()> {
        let Self { stream, opening, held, .. } = self;
        if opening.phase() == Phase::Deferred {
            opening.send_held(stream, held)?;
        }
        poll_fn(|cx| opening.poll_flush(stream, held, cx)).await
    }

    /// Waits until the handshake has ended, and returns tokio's stream. Sends the SYN if it waits for the first
    /// write: a `TcpStream` cannot handle that.
    ///
    /// # Errors
    /// The connection could not be made.
    pub async fn into_inner(mut self) -> io::Result<TcpStream> {
        self.established().await?;
        Ok(self.stream)
    }

    /// Splits the stream into two halves, for two tasks. Write before the other half reads: a read sends the SYN
    /// without data.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let Self { stream, opening, held, lesson } = self;
        split(stream, opening, held, lesson)
    }

    /// Returns tokio's stream, for its socket options. Do not read, write or wait with it before the handshake has
    /// ended.
    #[must_use]
    pub fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns the local address.
    ///
    /// # Errors
    /// As [`TcpStream::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Returns the remote address, also before the SYN has been sent.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.opening.peer()
    }

    /// Returns whether small segments are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As [`TcpStream::nodelay`].
    pub fn nodelay(&self) -> io::Result<bool> {
        self.stream.nodelay()
    }

    /// Sets whether small segments are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As [`TcpStream::set_nodelay`].
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.stream.set_nodelay(on)
    }
}

impl AsyncRead for FastOpenStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, opening, held, .. } = self.get_mut();
        opening.poll_read(stream, Some(held), cx, buf)
    }
}

impl AsyncWrite for FastOpenStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, opening, held, .. } = self.get_mut();
        opening.poll_write(stream, held, cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, opening, held, .. } = self.get_mut();
        opening.poll_flush(stream, held, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, opening, held, .. } = self.get_mut();
        opening.poll_shutdown(stream, held, cx)
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
