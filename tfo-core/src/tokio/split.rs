//! The halves of a stream, for two tasks.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::net::TcpStream;
use ::tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::opening::{Held, Lesson, Opening, Phase};

/// The reading half of a [`FastOpenStream`](super::FastOpenStream).
#[derive(Debug)]
pub struct ReadHalf {
    half: OwnedReadHalf,
    opening: Arc<Opening>,
    _lesson: Option<Arc<Lesson>>,
}

/// The writing half of a [`FastOpenStream`](super::FastOpenStream). Dropping it shuts down the sending half of the
/// connection, as soon as the handshake has ended and while the reading half is used.
#[derive(Debug)]
pub struct WriteHalf {
    /// `None` only while the half is dropped.
    half: Option<OwnedWriteHalf>,
    opening: Arc<Opening>,
    held: Held,
    _lesson: Option<Arc<Lesson>>,
}

pub(super) fn split(
    stream: TcpStream,
    opening: Arc<Opening>,
    held: Held,
    lesson: Option<Arc<Lesson>>,
) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    let read = ReadHalf { half: read, opening: Arc::clone(&opening), _lesson: lesson.clone() };
    (read, WriteHalf { half: Some(write), opening, held, _lesson: lesson })
}

impl ReadHalf {
    /// Returns the remote address, also before the SYN has been sent.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.opening.peer()
    }
}

impl WriteHalf {
    /// Returns the remote address, also before the SYN has been sent.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.opening.peer()
    }

    fn parts(&mut self) -> io::Result<(&mut OwnedWriteHalf, &Opening, &mut Held)> {
        let half = self.half.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok((half, &self.opening, &mut self.held))
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { half, opening, .. } = self.get_mut();
        opening.poll_owed_shutdown(half.as_ref(), cx)?;
        opening.poll_read(half, None, cx, buf)
    }
}

impl AsyncWrite for WriteHalf {
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
        let (half, opening, held) = self.get_mut().parts()?;
        opening.poll_write(half, held, cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (half, opening, held) = self.get_mut().parts()?;
        opening.poll_flush(half, held, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (half, opening, held) = self.get_mut().parts()?;
        opening.poll_shutdown(half, held, cx)
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        let Some(half) = self.half.take() else { return };
        let opening = &self.opening;
        if opening.phase() == Phase::Deferred && !self.held.is_empty() {
            // An error is returned by the next read.
            let _ = opening.send_held(half.as_ref(), &mut self.held);
        }
        if opening.shut_down_by_reader() {
            half.forget();
        }
    }
}
