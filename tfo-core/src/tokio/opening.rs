//! The opening of a client's connection: from the deferred SYN to the first byte of the answer.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use ::tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use ::tokio::net::TcpStream;
use ::tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::dialer::Witness;
use crate::socket::{Attempt, TcpBits, TcpState, option, send_first};
use crate::sys::socket;

/// The opening of a connection. Both halves of a split stream and its [`Handshake`](super::Handshake)s share it.
///
/// 1. The phase only grows, and each step is made by whoever notices it.
/// 2. The first write and a read may race to send the SYN: the kernel lets one of them win, and the other one waits.
/// 3. Nothing shuts the socket down before the handshake has ended: in `SYN_SENT`, `shutdown(2)` resets it.
/// 4. The stream, or its halves, own what the handshake proves about the path. A connection that is dropped before gives
///    its trial back, however long its [`Handshake`](super::Handshake)s live.
#[derive(Debug)]
pub(super) struct Opening {
    peer: SocketAddr,
    phase: AtomicU8,
    attempt: OnceLock<Attempt>,
    /// The length of the first write; 0 before it.
    first_bytes: AtomicUsize,
    /// The client writes before it reads: a read never sends the SYN, and the first writes are held back.
    client_first: bool,
    /// Somebody asks for what the kernel reports.
    watched: AtomicBool,
    seen: OnceLock<Seen>,
    lesson: Weak<Lesson>,
    /// The write half was dropped before the handshake had ended: the read half shuts down for it.
    shutdown_owed: AtomicBool,
    /// The reader of a split stream, until the handshake has ended.
    reader: Mutex<Option<Waker>>,
}

/// What the handshake will prove about the path; empty once it has.
pub(super) type Lesson = Mutex<Option<Witness>>;

/// What the kernel reported after the handshake.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) tcp: TcpBits,
    pub(super) local: Option<SocketAddr>,
}

/// How far the opening is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The SYN waits for the first write.
    Deferred,
    /// The SYN is under way, or the handshake has ended unnoticed.
    SynSent,
    /// The handshake has ended.
    Established,
    /// The peer has sent something.
    Answered,
}

/// The first bytes, held back until the layer above flushes, so that several writes ride the SYN together.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    turns: u8,
}

/// More than any SYN holds, except on loopback.
const HELD_MAX: usize = 16 * 1024;
/// How many times a flush lets other tasks run before it sends what is held.
const TURNS: u8 = 8;

/// A tokio stream, or a half of one.
pub(super) trait Socket {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for OwnedReadHalf {
    fn tcp(&self) -> &TcpStream {
        self.as_ref()
    }
}

impl Socket for OwnedWriteHalf {
    fn tcp(&self) -> &TcpStream {
        self.as_ref()
    }
}

impl Opening {
    /// `attempt` is `None` while the SYN is deferred.
    pub(super) fn new(
        peer: SocketAddr,
        attempt: Option<Attempt>,
        client_first: bool,
        lesson: Option<&Arc<Lesson>>,
    ) -> Self {
        let phase = if attempt.is_some() { Phase::SynSent } else { Phase::Deferred };
        Self {
            peer,
            phase: AtomicU8::new(phase as u8),
            attempt: attempt.map(OnceLock::from).unwrap_or_default(),
            first_bytes: AtomicUsize::new(0),
            client_first,
            watched: AtomicBool::new(false),
            seen: OnceLock::new(),
            lesson: lesson.map(Arc::downgrade).unwrap_or_default(),
            shutdown_owed: AtomicBool::new(false),
            reader: Mutex::new(None),
        }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn attempt(&self) -> Option<Attempt> {
        self.attempt.get().copied()
    }

    pub(super) fn first_bytes(&self) -> usize {
        self.first_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.get()
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Deferred,
            1 => Phase::SynSent,
            2 => Phase::Established,
            _ => Phase::Answered,
        }
    }

    /// `bits` is what the kernel reported just now, if it was asked.
    fn advance(&self, to: Phase, tcp: &TcpStream, bits: Option<TcpBits>) {
        let before = self.phase.fetch_max(to as u8, Ordering::AcqRel);
        if to < Phase::Established {
            return;
        }
        if self.watched.load(Ordering::Acquire) {
            self.look(tcp, bits);
        }
        if before < Phase::Established as u8
            && let Some(mut witness) = self.take_witness()
        {
            witness.answered(Instant::now(), || local_ip(tcp), || self.look(tcp, bits));
        }
    }

    fn take_witness(&self) -> Option<Witness> {
        self.lesson.upgrade()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Passes on the result of a call. An error before the handshake was seen to end is its failure.
    fn checked<T>(&self, result: io::Result<T>, tcp: &TcpStream) -> io::Result<T> {
        if result.is_err()
            && self.phase() == Phase::SynSent
            && let Some(mut witness) = self.take_witness()
        {
            witness.failed(local_ip(tcp));
        }
        result
    }

    /// Keeps what the kernel reports, from now on or as soon as the handshake has ended.
    pub(super) fn watch(&self, tcp: &TcpStream) {
        self.watched.store(true, Ordering::Release);
        if self.phase() >= Phase::Established {
            self.look(tcp, None);
        }
    }

    /// Keeps what the kernel reports. Nothing of it changes after the handshake.
    fn look(&self, tcp: &TcpStream, bits: Option<TcpBits>) -> Option<TcpBits> {
        if self.seen.get().is_none()
            && let Some(bits) = bits.or_else(|| option::tcp_bits(tcp).ok())
        {
            let _ = self.seen.set(Seen { tcp: bits, local: tcp.local_addr().ok() });
        }
        self.seen().map(|seen| seen.tcp)
    }

    pub(super) fn note_first(&self, bytes: usize) {
        if self.first_bytes() == 0 {
            self.first_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Sends the deferred SYN. Returns how many of the bytes the kernel took.
    pub(super) fn start(&self, tcp: &TcpStream, first: &[u8]) -> io::Result<usize> {
        if self.client_first {
            // The socket is writable while its SYN is deferred: that ends here. Nobody else sends this SYN, so that it
            // cannot be the end of the handshake.
            let _ = tcp.try_io(Interest::WRITABLE, || io::Result::<()>::Err(would_block()));
        }
        let attempt = send_first(tcp, first)?;
        self.note_first(first.len());
        if let Some(attempt) = attempt {
            let _ = self.attempt.set(attempt);
            if let Some(lesson) = self.lesson.upgrade()
                && let Some(witness) = &mut *lesson.lock().unwrap_or_else(PoisonError::into_inner)
            {
                witness.sent(attempt, Instant::now());
            }
        }
        self.advance(Phase::SynSent, tcp, None);
        Ok(if let Some(Attempt::InSyn(taken)) = attempt { taken } else { 0 })
    }

    /// Waits for the end of a handshake whose SYN was sent before the socket was registered: the first readiness is
    /// that end. Costs as much as [`TcpStream::connect`].
    pub(super) fn poll_connected(
        &self,
        tcp: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(tcp.poll_write_ready(cx))?;
        // Returned only of an established connection.
        if tcp.peer_addr().is_ok() {
            self.advance(Phase::Established, tcp, None);
            return Poll::Ready(Ok(()));
        }
        if let Some(e) = tcp.take_error()? {
            return Poll::Ready(self.checked(Err(e), tcp));
        }
        // An ICMP error is queued before it fails the handshake: that readiness is not the end.
        self.poll_established(tcp, cx)
    }

    /// Waits for the end of a handshake that is under way.
    pub(super) fn poll_established(
        &self,
        tcp: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.phase() < Phase::Established {
            ready!(tcp.poll_write_ready(cx))?;
            // It may be the readiness of the deferred SYN: that ends here.
            match tcp.try_io(Interest::WRITABLE, || handshake_result(tcp)) {
                Ok(bits) => self.advance(Phase::Established, tcp, Some(bits)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(self.checked(Err(e), tcp)),
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_read<R: AsyncRead + Socket + Unpin>(
        &self,
        inner: &mut R,
        held: Option<&mut Held>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.phase() {
            Phase::Answered => return Pin::new(inner).poll_read(cx, buf),
            Phase::Deferred => self.read_deferred(inner.tcp(), held, cx)?,
            Phase::SynSent | Phase::Established => {}
        }
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = ready!(Pin::new(&mut *inner).poll_read(cx, buf));
        self.checked(read, inner.tcp())?;
        // Reading nothing into no room proves nothing.
        if room > 0 {
            let phase =
                if buf.filled().len() > before { Phase::Answered } else { Phase::Established };
            self.advance(phase, inner.tcp(), None);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the SYN for a read, unless the client speaks first and has not yet.
    fn read_deferred(
        &self,
        tcp: &TcpStream,
        held: Option<&mut Held>,
        cx: &Context<'_>,
    ) -> io::Result<()> {
        if !self.client_first {
            return self.start(tcp, &[]).map(drop);
        }
        // A layer that reads without a flush waits for the answer to what it wrote.
        if let Some(held) = held.filter(|held| !held.bytes.is_empty())
            && held.may_send(cx)
        {
            return self.send_held(tcp, held);
        }
        Ok(())
    }

    pub(super) fn poll_write<W: AsyncWrite + Socket + Unpin>(
        &self,
        inner: &mut W,
        held: &mut Held,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if data.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        if self.phase() == Phase::Deferred {
            let taken = if self.client_first && held.bytes.len() < HELD_MAX {
                held.push(data)
            } else if self.client_first {
                self.send_held(inner.tcp(), held)?;
                0
            } else if let [first] = data {
                self.start(inner.tcp(), first)?
            } else {
                let mut first = Held::default();
                first.push(data);
                self.start(inner.tcp(), &first.bytes)?
            };
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
        ready!(self.poll_drain(inner, held, cx))?;
        let sent = ready!(match data {
            [slice] => Pin::new(&mut *inner).poll_write(cx, slice),
            slices => Pin::new(&mut *inner).poll_write_vectored(cx, slices),
        });
        let sent = self.checked(sent, inner.tcp())?;
        if self.phase() < Phase::Answered {
            self.note_first(data.iter().map(|slice| slice.len()).sum());
            self.advance(Phase::Established, inner.tcp(), None);
        }
        Poll::Ready(Ok(sent))
    }

    /// Sends what is held, and waits for the end of the handshake if one is under way.
    pub(super) fn poll_flush<W: AsyncWrite + Socket + Unpin>(
        &self,
        inner: &mut W,
        held: &mut Held,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.phase() == Phase::Deferred {
            if held.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !held.may_send(cx) {
                return Poll::Pending;
            }
            self.send_held(inner.tcp(), held)?;
        }
        ready!(self.poll_established(inner.tcp(), cx))?;
        ready!(self.poll_drain(inner, held, cx))?;
        Pin::new(inner).poll_flush(cx)
    }

    pub(super) fn poll_shutdown<W: AsyncWrite + Socket + Unpin>(
        &self,
        inner: &mut W,
        held: &mut Held,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.phase() == Phase::Deferred {
            self.send_held(inner.tcp(), held)?;
        }
        ready!(self.poll_flush(inner, held, cx))?;
        Pin::new(inner).poll_shutdown(cx)
    }

    /// Sends the deferred SYN with what is held, which may be nothing.
    pub(super) fn send_held(&self, tcp: &TcpStream, held: &mut Held) -> io::Result<()> {
        let taken = self.start(tcp, &held.bytes)?;
        held.bytes.drain(..taken);
        Ok(())
    }

    /// Sends what is held and did not fit into the SYN.
    fn poll_drain<W: AsyncWrite + Socket + Unpin>(
        &self,
        inner: &mut W,
        held: &mut Held,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !held.bytes.is_empty() {
            let sent = ready!(Pin::new(&mut *inner).poll_write(cx, &held.bytes));
            let sent = self.checked(sent, inner.tcp())?;
            held.bytes.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Called by a write half that is dropped: returns whether it may shut down now. Otherwise the read half does so
    /// as soon as the handshake has ended.
    pub(super) fn shut_down_by_reader(&self) -> bool {
        if self.phase() >= Phase::Established {
            return false;
        }
        self.shutdown_owed.store(true, Ordering::Release);
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }

    /// Shuts down for a write half that is gone. The writer's place in tokio's readiness is free then.
    pub(super) fn poll_owed_shutdown(
        &self,
        tcp: &TcpStream,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if self.phase() < Phase::Established {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            *reader = Some(cx.waker().clone());
        }
        if !self.shutdown_owed.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.phase() == Phase::Deferred {
            self.start(tcp, &[])?;
        }
        if self.poll_established(tcp, cx)?.is_ready()
            && self.shutdown_owed.swap(false, Ordering::AcqRel)
        {
            socket::shutdown(tcp, Shutdown::Write)?;
        }
        Ok(())
    }
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends what there is room for, and returns how many bytes that is.
    fn push(&mut self, data: &[IoSlice<'_>]) -> usize {
        let before = self.bytes.len();
        for slice in data {
            let room = HELD_MAX.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        self.bytes.len() - before
    }

    /// Returns whether other tasks have had their turns to add something, and wakes this one if they have not.
    fn may_send(&mut self, cx: &Context<'_>) -> bool {
        let may = self.turns >= TURNS;
        if !may {
            self.turns += 1;
            cx.waker().wake_by_ref();
        }
        may
    }
}

/// Returns how the handshake ended; [`WouldBlock`](io::ErrorKind::WouldBlock) while it has not.
fn handshake_result(tcp: &TcpStream) -> io::Result<TcpBits> {
    let bits = option::tcp_bits(tcp)?;
    match bits.state {
        TcpState::SynSent => Err(would_block()),
        TcpState::Close => {
            Err(tcp.take_error()?.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))
        }
        _ => Ok(bits),
    }
}

fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

fn local_ip(tcp: &TcpStream) -> Option<IpAddr> {
    tcp.local_addr().ok().map(|local| local.ip())
}
