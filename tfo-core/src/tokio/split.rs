//! The halves of a stream, for two tasks.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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

impl ReadHalf {
    pub(super) fn new(
        half: OwnedReadHalf,
        opening: Arc<Opening>,
        lesson: Option<Arc<Lesson>>,
    ) -> Self {
        Self { half, opening, _lesson: lesson }
    }

    /// Returns the remote address, also before the SYN has been sent.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.opening.peer()
    }
}

impl WriteHalf {
    pub(super) fn new(
        half: OwnedWriteHalf,
        opening: Arc<Opening>,
        held: Held,
        lesson: Option<Arc<Lesson>>,
    ) -> Self {
        Self { half: Some(half), opening, held, _lesson: lesson }
    }

    /// Returns the remote address, also before the SYN has been sent.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.opening.peer()
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
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
        let Self { half, opening, held, .. } = self.get_mut();
        match half {
            Some(half) => opening.poll_write(half, held, cx, data),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { half, opening, held, .. } = self.get_mut();
        match half {
            Some(half) => opening.poll_flush(half, held, cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { half, opening, held, .. } = self.get_mut();
        match half {
            Some(half) => opening.poll_shutdown(half, held, cx),
            None => Poll::Ready(Err(gone())),
        }
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
