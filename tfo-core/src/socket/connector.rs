//! Makes a connection with first bytes, and explains why there is none.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{error, fmt};

use super::{FastOpenStream, option};
use crate::error::{Error, Result};
use crate::socket::{Attempt, TcpInfo};
use crate::sys::socket;

/// How the first bytes are passed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Method {
    /// `sendto` with `MSG_FASTOPEN`, or `TCP_FASTOPEN_CONNECT` where a local policy forbids that call.
    #[default]
    Auto,
    /// `sendto` with `MSG_FASTOPEN`: connects and sends in one call.
    SendTo,
    /// `TCP_FASTOPEN_CONNECT`, `connect`, and the first `send`.
    Connect,
    /// A regular `connect`.
    Off,
}

/// Options for connecting.
#[derive(Debug, Clone, Default)]
pub struct Connector {
    pub(super) method: Method,
    timeout: Option<Duration>,
    bind: Option<SocketAddr>,
    no_cookie: bool,
}

impl Connector {
    /// Sets how the first bytes are passed to the kernel. Default: [`Method::Auto`].
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the maximum time of [`connect`](Self::connect), including the sending of all first bytes. Default: as
    /// long as the kernel tries, about two minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the local address to connect from. Default: chosen by the kernel.
    #[must_use]
    pub fn bind(mut self, local: SocketAddr) -> Self {
        self.bind = Some(local);
        self
    }

    /// Puts data into the SYN although no cookie is cached
    /// ([`TCP_FASTOPEN_NO_COOKIE`](option::set_fastopen_no_cookie)). Only a server that is configured to use no
    /// cookies accepts it. Default: off.
    #[must_use]
    pub fn no_cookie(mut self, on: bool) -> Self {
        self.no_cookie = on;
        self
    }

    /// Connects to `server`, and sends `first`.
    ///
    /// Returns when the handshake has ended and the kernel holds all of `first`: one round trip after the call,
    /// when the answer to a fast open request arrives as well. With an empty `first` there is nothing to gain, and
    /// the connection is a regular one.
    ///
    /// # Errors
    /// The connection was refused, is impossible, or timed out ([`io::ErrorKind::TimedOut`]).
    pub fn connect(
        &self,
        server: SocketAddr,
        first: &[u8],
    ) -> Result<FastOpenStream, ConnectError> {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let fd = self.open(server).map_err(ConnectError::early)?;
        let mut progress = Progress { attempt: None, established: false };
        match self.establish(&fd, server, first, deadline, &mut progress) {
            Ok(()) => Ok(FastOpenStream::connected(fd, progress.attempt)),
            Err(e) => Err(ConnectError {
                error: Error::system("connect", server, e),
                attempt: progress.attempt,
                established: progress.established,
                info: option::tcp_info(&fd).ok().map(Box::new),
                local: socket::local_address(&fd).ok().filter(|local| local.port() != 0),
            }),
        }
    }

    /// Starts to connect to `server`, with as much of `first` in the SYN as fits, and returns immediately. The
    /// stream is non-blocking.
    ///
    /// The stream's [`attempt`](FastOpenStream::attempt) shows what is left to do once the stream is writable:
    /// after [`Attempt::InSyn`] send the bytes that did not fit into the SYN, after any other attempt send all of
    /// them. If the connection attempt fails, the first read or write returns the error. The timeout is ignored.
    ///
    /// # Errors
    /// The attempt is impossible: no file descriptors, no route, no port left.
    pub fn connect_nonblocking(&self, server: SocketAddr, first: &[u8]) -> Result<FastOpenStream> {
        let fd = self.open(server)?;
        let attempt =
            self.send_syn(&fd, server, first).map_err(|e| Error::system("connect", server, e))?;
        Ok(FastOpenStream::connected(fd, Some(attempt)))
    }

    pub(super) fn open(&self, server: SocketAddr) -> Result<OwnedFd> {
        let fd = socket::tcp(server, true).map_err(|e| Error::system("socket", "", e))?;
        if let Some(local) = self.bind {
            if local.port() == 0 {
                option::set_bind_address_no_port(&fd, true)?;
            }
            socket::bind(&fd, local).map_err(|e| Error::system("bind", local, e))?;
        }
        if self.no_cookie {
            option::set_fastopen_no_cookie(&fd, true)?;
        }
        Ok(fd)
    }

    fn establish(
        &self,
        fd: &OwnedFd,
        server: SocketAddr,
        first: &[u8],
        deadline: Option<Instant>,
        progress: &mut Progress,
    ) -> io::Result<()> {
        let attempt = self.send_syn(fd, server, first)?;
        progress.attempt = Some(attempt);
        wait_writable(fd.as_fd(), deadline)?;
        let error = option::take_error(fd).err();
        progress.established = error.as_ref().is_none_or(after_handshake);
        error.map_or(Ok(()), Err)?;

        let in_syn = if let Attempt::InSyn(bytes) = attempt { bytes } else { 0 };
        send_all(fd, first.get(in_syn..).unwrap_or_default(), deadline)?;
        socket::set_nonblocking(fd, false)
    }

    /// Sends the SYN on a non-blocking socket, so that the call returns at once. Returns how much of `first` fitted
    /// into the SYN.
    fn send_syn(&self, fd: &OwnedFd, server: SocketAddr, first: &[u8]) -> io::Result<Attempt> {
        if first.is_empty() {
            return start_regular(fd, server, Attempt::Regular);
        }
        match self.method {
            Method::Off => start_regular(fd, server, Attempt::Regular),
            Method::SendTo => start_sendto(fd, server, first),
            Method::Connect => start_connect(fd, server, first),
            // A seccomp rule on the flag returns EPERM or EACCES; firewalls return them for both calls.
            Method::Auto => match start_sendto(fd, server, first) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    start_connect(fd, server, first)
                }
                started => started,
            },
        }
    }
}

/// The progress of `establish`, for the error that ends it.
struct Progress {
    attempt: Option<Attempt>,
    established: bool,
}

fn start_sendto(fd: &OwnedFd, server: SocketAddr, first: &[u8]) -> io::Result<Attempt> {
    match socket::sendto_fastopen(fd, first, server) {
        Ok(bytes) => Ok(Attempt::InSyn(bytes)),
        // Nothing was queued: the whole message is sent after the handshake.
        Err(e) if in_progress(&e) => Ok(Attempt::AfterHandshake),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            start_regular(fd, server, Attempt::ClientDisabled)
        }
        Err(e) => Err(e),
    }
}

fn start_connect(fd: &OwnedFd, server: SocketAddr, first: &[u8]) -> io::Result<Attempt> {
    if !option::set_fastopen_connect(fd, true).map_err(io::Error::from)? {
        return start_regular(fd, server, Attempt::ClientDisabled);
    }
    match socket::connect(fd, server) {
        // A cookie is cached: the SYN waits for the first write.
        Ok(()) => match socket::send(fd, first, false) {
            Ok(bytes) => Ok(Attempt::InSyn(bytes)),
            Err(e) if in_progress(&e) => Ok(Attempt::AfterHandshake),
            Err(e) => Err(e),
        },
        Err(e) if in_progress(&e) => Ok(Attempt::AfterHandshake),
        Err(e) => Err(e),
    }
}

pub(super) fn start_regular(
    fd: &OwnedFd,
    server: SocketAddr,
    attempt: Attempt,
) -> io::Result<Attempt> {
    match socket::connect(fd, server) {
        Err(e) if !in_progress(&e) => Err(e),
        _ => Ok(attempt),
    }
}

/// Returns whether the SYN is under way. An interruption by a signal stops only the wait.
pub(super) fn in_progress(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EALREADY | libc::EINTR))
}

/// Returns whether the peer ended an established connection. A refused SYN is another error, `ECONNREFUSED`.
fn after_handshake(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE))
}

fn send_all(fd: &OwnedFd, mut rest: &[u8], deadline: Option<Instant>) -> io::Result<()> {
    while !rest.is_empty() {
        match socket::send(fd, rest, false) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait_writable(fd.as_fd(), deadline)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn wait_writable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match socket::wait_writable(fd, left) {
            Ok(true) => return Ok(()),
            // `poll` limits a long wait; only the deadline ends it.
            Ok(false) if deadline.is_some_and(|at| at <= Instant::now()) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Ok(false) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

impl FastOpenStream {
    /// Connects to `server` and sends `first`, in the SYN if possible. See [`Connector::connect`].
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub fn connect(server: SocketAddr, first: &[u8]) -> Result<Self, ConnectError> {
        Self::connector().connect(server, first)
    }

    /// Returns a [`Connector`], to connect with options.
    #[must_use]
    pub fn connector() -> Connector {
        Connector::default()
    }
}

/// Why there is no connection, with the evidence that the attempt left.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectError {
    /// What failed.
    pub error: Error,
    /// What the kernel did with the first bytes; `None` if they were not passed to it.
    pub attempt: Option<Attempt>,
    /// Whether the handshake had ended before the failure.
    pub established: bool,
    /// `TCP_INFO` when the attempt ended.
    pub info: Option<Box<TcpInfo>>,
    /// The local address, if there was one.
    pub local: Option<SocketAddr>,
}

impl ConnectError {
    fn early(error: Error) -> Self {
        Self { error, attempt: None, established: false, info: None, local: None }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// The message contains the cause.
impl error::Error for ConnectError {}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        error.error.into()
    }
}
