//! Connects for tokio.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use ::tokio::net::{TcpStream, ToSocketAddrs, lookup_host};

use super::FastOpenStream;
use super::opening::Opening;
use crate::socket::{self, Attempt};

/// Options for connecting with tokio.
///
/// ```no_run
/// use tfo_core::{socket, tokio::{Connector, FastOpenStream}};
///
/// # async fn example() -> std::io::Result<()> {
/// let options = socket::FastOpenStream::connector().bind("192.0.2.7:0".parse().unwrap());
/// let stream = Connector::from(options).connect_on_write("192.0.2.1:2222").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Connector {
    options: socket::Connector,
    client_first: bool,
}

/// Uses these options. Their timeout is ignored: drop the future instead, as `tokio::time::timeout` does.
impl From<socket::Connector> for Connector {
    fn from(options: socket::Connector) -> Self {
        Self { options, client_first: false }
    }
}

impl Connector {
    /// States that the client speaks first, and that the layer above flushes what it writes, as HTTP and TLS
    /// libraries do. Default: off.
    ///
    /// With [`connect_on_write`](Self::connect_on_write), a read then waits for the first write instead of sending the
    /// SYN, and writes are collected until a flush, up to 16 KiB, so that the SYN carries all of them: HTTP/2 writes
    /// its preface, its settings and the first request separately. The flush lets other tasks run a few times before it
    /// sends, because the request may come from another task.
    #[must_use]
    pub fn client_speaks_first(mut self, on: bool) -> Self {
        self.client_first = on;
        self
    }

    /// Connects, and sends `first`. See [`FastOpenStream::connect`].
    ///
    /// # Errors
    /// As [`FastOpenStream::connect`].
    pub async fn connect(
        &self,
        addresses: impl ToSocketAddrs,
        first: &[u8],
    ) -> io::Result<FastOpenStream> {
        let mut failed = no_address();
        for server in lookup_host(addresses).await? {
            match self.connect_to(server, first).await {
                Ok(stream) => return Ok(stream),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    async fn connect_to(&self, server: SocketAddr, first: &[u8]) -> io::Result<FastOpenStream> {
        let started = self.options.connect_nonblocking(server, first)?;
        let attempt = started.attempt();
        let opening = Opening::new(server, attempt, false);
        opening.note_first(first.len());
        let stream = TcpStream::from_std(started.into())?;
        poll_fn(|cx| opening.poll_connected(&stream, cx)).await?;

        let in_syn = if let Some(Attempt::InSyn(bytes)) = attempt { bytes } else { 0 };
        let mut rest = first.get(in_syn..).unwrap_or_default();
        while !rest.is_empty() {
            stream.writable().await?;
            match stream.try_write(rest) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(FastOpenStream::new(stream, opening))
    }

    /// Connects, and leaves the SYN to the first write. See [`FastOpenStream::connect_on_write`].
    ///
    /// # Errors
    /// As [`FastOpenStream::connect_on_write`].
    pub async fn connect_on_write(
        &self,
        addresses: impl ToSocketAddrs,
    ) -> io::Result<FastOpenStream> {
        let mut failed = no_address();
        for server in lookup_host(addresses).await? {
            match self.defer(server).await {
                Ok(stream) => return Ok(stream),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    async fn defer(&self, server: SocketAddr) -> io::Result<FastOpenStream> {
        let (fd, attempt) = self.options.connect_deferred(server)?;
        let opening = Opening::new(server, attempt, self.client_first);
        let stream = TcpStream::from_std(fd.into())?;
        if attempt.is_some() {
            poll_fn(|cx| opening.poll_connected(&stream, cx)).await?;
        }
        Ok(FastOpenStream::new(stream, opening))
    }
}

impl FastOpenStream {
    /// Connects to the first of the addresses that answers, and sends `first`, in the SYN if a cookie is cached.
    /// Returns when the handshake has ended and the kernel holds all of `first`.
    ///
    /// If one address fails, the next one gets the same bytes.
    ///
    /// # Errors
    /// Name resolution failed, or no address could be connected to: the error of the last one.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub async fn connect(addresses: impl ToSocketAddrs, first: &[u8]) -> io::Result<Self> {
        Self::connector().connect(addresses, first).await
    }

    /// Connects to the first of the addresses that answers. If a cookie for it is cached, this sends nothing, and the
    /// [first write](super#the-first-write) rides the SYN.
    ///
    /// # Errors
    /// Name resolution failed, or no address could be connected to: the error of the last one. After a deferred SYN
    /// the first read, flush, or later write returns the error, and no other address is tried.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub async fn connect_on_write(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        Self::connector().connect_on_write(addresses).await
    }

    /// Returns a [`Connector`], to connect with options.
    #[must_use]
    pub fn connector() -> Connector {
        Connector::default()
    }
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")
}
