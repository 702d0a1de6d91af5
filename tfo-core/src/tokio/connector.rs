//! Connects for tokio.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ::tokio::net::{TcpStream, ToSocketAddrs, lookup_host};

use super::FastOpenStream;
use super::opening::{Lesson, Opening};
use crate::dialer::{PathMemory, Witness};
use crate::socket::{self, Attempt};

/// Connects with options, and remembers the paths that break fast open.
///
/// Keep one connector, and share its clones: a path that drops or resets SYNs with data costs one connection a second, or
/// fails one, and the next ones are regular for a while. See [`memory`](Self::memory).
///
/// ```no_run
/// use tfo_core::{socket, tokio::{Connector, FastOpenStream}};
///
/// # async fn example() -> std::io::Result<()> {
/// let options = socket::FastOpenStream::connector().bind("192.0.2.7:0".parse().unwrap());
/// let connector = Connector::from(options);
/// let stream = connector.connect_on_write("192.0.2.1:2222").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connector {
    options: socket::Connector,
    client_first: bool,
    memory: Option<PathMemory>,
}

impl Default for Connector {
    fn default() -> Self {
        socket::Connector::default().into()
    }
}

/// Uses these options. Their timeout is ignored: drop the future instead, as `tokio::time::timeout` does.
impl From<socket::Connector> for Connector {
    fn from(options: socket::Connector) -> Self {
        Self { options, client_first: false, memory: Some(PathMemory::new()) }
    }
}

impl Connector {
    /// A connector for a single connection.
    fn without_memory() -> Self {
        Self { options: socket::Connector::default(), client_first: false, memory: None }
    }

    /// Uses other options.
    #[cfg(feature = "hyper")]
    pub(crate) fn with_options(mut self, options: socket::Connector) -> Self {
        self.options = options;
        self
    }

    /// Makes all connections regular.
    #[cfg(feature = "hyper")]
    pub(crate) fn regular(mut self) -> Self {
        self.options = self.options.method(socket::Method::Off);
        self
    }

    /// Sets the memory, to share it with other connectors and [dialers](crate::dialer::Dialer), or to load it from a file.
    /// Default: one of this connector's own, which its clones share.
    ///
    /// A destination whose SYN of fast open was lost, refused or not answered, or whose SYNs' data was ignored three times
    /// in a row, gets regular connections for a while: see [`PathMemory`]. Their
    /// [`attempt`](super::Handshake::attempt) is [`Attempt::Paused`]. A connection that is dropped before its handshake
    /// has ended teaches nothing.
    ///
    /// ```no_run
    /// use tfo_core::{dialer::{Dialer, PathMemory}, tokio::Connector};
    ///
    /// let memory = PathMemory::new();
    /// let (connector, dialer) = (Connector::default().memory(&memory), Dialer::new().memory(&memory));
    /// ```
    #[must_use]
    pub fn memory(mut self, memory: &PathMemory) -> Self {
        self.memory = Some(memory.clone());
        self
    }

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
        let witness = if first.is_empty() { None } else { self.ask(server) };
        let started = if is_paused(witness.as_ref()) {
            self.options.connect_regular(server, Attempt::Paused)?
        } else {
            self.options.connect_nonblocking(server, first)?
        };
        let attempt = started.attempt();
        let lesson = lesson(witness, attempt);
        let opening = Opening::new(server, attempt, false, lesson.as_ref());
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
        Ok(FastOpenStream::new(stream, opening, lesson))
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
        let witness = self.ask(server);
        let (stream, attempt) = if is_paused(witness.as_ref()) {
            let attempt = Attempt::Paused;
            (self.options.connect_regular(server, attempt)?.into(), Some(attempt))
        } else {
            let (fd, attempt) = self.options.connect_deferred(server)?;
            (fd.into(), attempt)
        };
        let lesson = lesson(witness, attempt);
        let opening = Opening::new(server, attempt, self.client_first, lesson.as_ref());
        let stream = TcpStream::from_std(stream)?;
        if attempt.is_some() {
            poll_fn(|cx| opening.poll_connected(&stream, cx)).await?;
        }
        Ok(FastOpenStream::new(stream, opening, lesson))
    }

    /// Asks the memory. `None`: there is none, or all connections are regular.
    fn ask(&self, server: SocketAddr) -> Option<Witness> {
        let memory = self.memory.as_ref().filter(|_| !self.options.is_regular());
        memory.map(|memory| Witness::ask(memory, server))
    }
}

fn is_paused(witness: Option<&Witness>) -> bool {
    witness.is_some_and(|witness| !witness.permits())
}

/// Returns what the handshake will prove. `attempt` is `None` while the SYN is deferred.
fn lesson(witness: Option<Witness>, attempt: Option<Attempt>) -> Option<Arc<Lesson>> {
    witness.map(|mut witness| {
        if let Some(attempt) = attempt {
            witness.sent(attempt, Instant::now());
        }
        Arc::new(Mutex::new(Some(witness)))
    })
}

impl FastOpenStream {
    /// Connects to the first of the addresses that answers, and sends `first`, in the SYN if a cookie is cached.
    /// Returns when the handshake has ended and the kernel holds all of `first`.
    ///
    /// If one address fails, the next one gets the same bytes. The server whose address failed may have executed them.
    ///
    /// Remembers nothing of the path: keep a [`Connector`] for that.
    ///
    /// # Errors
    /// Name resolution failed, or no address could be connected to: the error of the last one.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub async fn connect(addresses: impl ToSocketAddrs, first: &[u8]) -> io::Result<Self> {
        Connector::without_memory().connect(addresses, first).await
    }

    /// Connects to the first of the addresses that answers. If a cookie for it is cached, this sends nothing, and the
    /// [first write](super#the-first-write) rides the SYN.
    ///
    /// Remembers nothing of the path: keep a [`Connector`] for that.
    ///
    /// # Errors
    /// Name resolution failed, or no address could be connected to: the error of the last one. After a deferred SYN
    /// the first read, flush, or later write returns the error, and no other address is tried.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub async fn connect_on_write(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        Connector::without_memory().connect_on_write(addresses).await
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
