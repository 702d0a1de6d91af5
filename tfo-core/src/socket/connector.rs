//! Makes a connection with first bytes, and explains why there is none.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{error, fmt, thread};

use super::{FastOpenStream, option};
use crate::error::{Error, Result};
use crate::socket::{Attempt, TcpInfo};
use crate::sys::socket;

/// The way in which the first bytes are passed to the kernel.
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
///
/// ```no_run
/// use std::time::Duration;
/// use tfo_core::socket::FastOpenStream;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = FastOpenStream::connector()
///     .bind("192.0.2.7:0".parse()?)
///     .timeout(Duration::from_secs(5));
/// match connector.connect("192.0.2.1:2222".parse()?, b"hello\n") {
///     Ok(stream) => println!("{:?}", stream.attempt()),
///     Err(e) => println!("{e}; the kernel had the first bytes: {}", e.attempt.is_some()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Connector {
    pub(super) method: Method,
    timeout: Option<Duration>,
    bind: Option<SocketAddr>,
    interface: Option<String>,
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

    /// Sets the network interface to connect by ([`SO_BINDTODEVICE`](option::set_bind_to_device)). Default: chosen by
    /// the route.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.interface = Some(name.into());
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
        self.connect_vectored(server, &[IoSlice::new(first)])
    }

    /// Like [`connect`](Self::connect), with the first bytes in several slices. The SYN takes as much of them as fits,
    /// as if they were one.
    ///
    /// ```no_run
    /// use std::io::IoSlice;
    /// use tfo_core::socket::Connector;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (header, body) = (b"PUT /1 HTTP/1.1\r\n\r\n", b"one");
    /// let first = [IoSlice::new(header), IoSlice::new(body)];
    /// let stream = Connector::default().connect_vectored("192.0.2.1:80".parse()?, &first)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_vectored(
        &self,
        server: SocketAddr,
        first: &[IoSlice<'_>],
    ) -> Result<FastOpenStream, ConnectError> {
        let deadline = self.deadline();
        let fd = self.open(server).map_err(ConnectError::early)?;
        self.run(fd, server, first, deadline)
    }

    /// Like [`connect`](Self::connect), on a socket of the caller's, which may have options that this type does not
    /// offer: `SO_MARK`, `SO_BINDTODEVICE`, `IP_TOS`, MPTCP. The socket becomes blocking.
    ///
    /// ```no_run
    /// use socket2::{Domain, Socket, Type};
    /// use tfo_core::socket::Connector;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    /// socket.bind_device(Some(b"eth1"))?;
    /// let stream = Connector::default().connect_on(socket, "192.0.2.1:80".parse()?, b"hello\n")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Self::connect); the socket is not a TCP one, or has been connected already. The socket is closed.
    pub fn connect_on(
        &self,
        fd: impl Into<OwnedFd>,
        server: SocketAddr,
        first: &[u8],
    ) -> Result<FastOpenStream, ConnectError> {
        let (fd, deadline) = (fd.into(), self.deadline());
        option::check_unconnected(&fd, server)
            .and_then(|()| {
                let set = socket::set_nonblocking(&fd, true);
                set.map_err(|e| Error::system("ioctl", "FIONBIO", e))
            })
            .and_then(|()| self.configure(&fd))
            .map_err(ConnectError::early)?;
        self.run(fd, server, &[IoSlice::new(first)], deadline)
    }

    /// Starts to connect to `server`, with as much of `first` in the SYN as fits, and returns immediately. The
    /// stream is non-blocking.
    ///
    /// The stream's [`attempt`](FastOpenStream::attempt) shows what is left to do once the stream is writable:
    /// after [`Attempt::InSyn`] send the bytes that did not fit into the SYN, after any other attempt send all of
    /// them. If the connection attempt fails, the first read or write returns the error. The timeout is ignored.
    ///
    /// ```no_run
    /// use std::io::Write;
    /// use tfo_core::socket::{Attempt, FastOpenStream};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let first = b"hello\n";
    /// let connector = FastOpenStream::connector();
    /// let mut stream = connector.connect_nonblocking("192.0.2.1:2222".parse()?, first)?;
    /// // … wait until the stream is writable, then:
    /// let taken = if let Some(Attempt::InSyn(bytes)) = stream.attempt() { bytes } else { 0 };
    /// stream.write_all(&first[taken..])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The attempt is impossible: no file descriptors, no route, no port left.
    pub fn connect_nonblocking(&self, server: SocketAddr, first: &[u8]) -> Result<FastOpenStream> {
        let fd = self.open(server)?;
        let attempt = self
            .send_syn(&fd, server, &[IoSlice::new(first)])
            .map_err(|e| Error::system("connect", server, e))?;
        Ok(FastOpenStream::connected(fd, Some(attempt)))
    }

    /// Starts a regular connection, and returns immediately. `attempt` says why it is one.
    pub(crate) fn connect_regular(
        &self,
        server: SocketAddr,
        attempt: Attempt,
    ) -> Result<FastOpenStream> {
        let fd = self.open(server)?;
        let attempt =
            start_regular(&fd, server, attempt).map_err(|e| Error::system("connect", server, e))?;
        Ok(FastOpenStream::connected(fd, Some(attempt)))
    }

    /// Returns whether connections are regular on purpose.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_regular(&self) -> bool {
        self.method == Method::Off
    }

    /// Returns when the timeout ends; `None`: never, or later than the clock can tell.
    fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.timeout?)
    }

    pub(super) fn open(&self, server: SocketAddr) -> Result<OwnedFd> {
        let fd = socket::tcp(server, true).map_err(|e| Error::system("socket", "", e))?;
        self.configure(&fd)?;
        Ok(fd)
    }

    /// Sets the options on a socket.
    fn configure(&self, fd: &OwnedFd) -> Result<()> {
        if let Some(interface) = &self.interface {
            option::set_bind_to_device(fd, interface)?;
        }
        if let Some(local) = self.bind {
            if local.port() == 0 {
                option::set_bind_address_no_port(fd, true)?;
            }
            socket::bind(fd, local).map_err(|e| Error::system("bind", local, e))?;
        }
        if self.no_cookie {
            option::set_fastopen_no_cookie(fd, true)?;
        }
        Ok(())
    }

    /// Connects a non-blocking socket.
    fn run(
        &self,
        fd: OwnedFd,
        server: SocketAddr,
        first: &[IoSlice<'_>],
        deadline: Option<Instant>,
    ) -> Result<FastOpenStream, ConnectError> {
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

    fn establish(
        &self,
        fd: &OwnedFd,
        server: SocketAddr,
        first: &[IoSlice<'_>],
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
        send_all(fd.as_fd(), first, in_syn, deadline)?;
        socket::set_nonblocking(fd, false)
    }

    /// Sends the SYN on a non-blocking socket, so that the call returns at once. Returns how much of `first` fitted
    /// into the SYN.
    fn send_syn(
        &self,
        fd: &OwnedFd,
        server: SocketAddr,
        first: &[IoSlice<'_>],
    ) -> io::Result<Attempt> {
        if first.iter().all(|slice| slice.is_empty()) {
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

fn start_sendto(fd: &OwnedFd, server: SocketAddr, first: &[IoSlice<'_>]) -> io::Result<Attempt> {
    match socket::send_fastopen(fd, first, server) {
        Ok(bytes) => Ok(Attempt::InSyn(bytes)),
        // Nothing was queued: the whole message is sent after the handshake.
        Err(e) if in_progress(&e) => Ok(Attempt::AfterHandshake),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            start_regular(fd, server, Attempt::ClientDisabled)
        }
        Err(e) => Err(e),
    }
}

fn start_connect(fd: &OwnedFd, server: SocketAddr, first: &[IoSlice<'_>]) -> io::Result<Attempt> {
    if !option::set_fastopen_connect(fd, true).map_err(io::Error::from)? {
        return start_regular(fd, server, Attempt::ClientDisabled);
    }
    match socket::connect(fd, server) {
        // A cookie is cached: the SYN waits for the first write.
        Ok(()) => match socket::send_vectored(fd, first) {
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

/// Sends the slices without their first `sent` bytes.
pub(crate) fn send_all(
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    sent: usize,
    deadline: Option<Instant>,
) -> io::Result<()> {
    if slices.iter().map(|slice| slice.len()).sum::<usize>() == sent {
        return Ok(());
    }
    let mut slices = slices.to_vec();
    let mut rest = &mut slices[..];
    IoSlice::advance_slices(&mut rest, sent);
    while !rest.is_empty() {
        match socket::send_vectored(fd, rest) {
            Ok(sent) => IoSlice::advance_slices(&mut rest, sent),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait_writable(fd, deadline)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// After this time a handshake has failed whose error is queued, if it fails.
pub(crate) const QUEUED_ERROR: Duration = Duration::from_millis(1);

fn wait_writable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match socket::wait_writable(fd, left) {
            Ok(Some(ready)) if ready.queued_error => {
                option::take_error(fd)?;
                thread::sleep(QUEUED_ERROR);
            }
            Ok(Some(_)) => return Ok(()),
            // `poll` limits a long wait; only the deadline ends it.
            Ok(None) if deadline.is_some_and(|at| at <= Instant::now()) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

impl FastOpenStream {
    /// Connects to `server` and sends `first`, in the SYN if possible. See [`Connector::connect`].
    ///
    /// Of several addresses, each is tried in turn until one connects: `first` may then have been sent to more than
    /// one of them.
    ///
    /// ```no_run
    /// use std::io::Read;
    /// use tfo_core::socket::FastOpenStream;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut stream = FastOpenStream::connect("example.org:80", b"GET / HTTP/1.0\r\n\r\n")?;
    /// let mut answer = Vec::new();
    /// stream.read_to_end(&mut answer)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of the last address, as [`Connector::connect`], or that of the resolution.
    pub fn connect(server: impl ToSocketAddrs, first: &[u8]) -> Result<Self, ConnectError> {
        let resolve = |e| ConnectError::early(Error::system("resolve", "the server's address", e));
        let mut failure = None;
        for address in server.to_socket_addrs().map_err(resolve)? {
            match Self::connector().connect(address, first) {
                Ok(stream) => return Ok(stream),
                Err(e) => failure = Some(e),
            }
        }
        Err(failure.unwrap_or_else(|| resolve(io::ErrorKind::NotFound.into())))
    }

    /// Returns a [`Connector`], to connect with options.
    #[must_use]
    pub fn connector() -> Connector {
        Connector::default()
    }
}

/// A failed connection attempt: the reason, and the evidence that the attempt left.
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
