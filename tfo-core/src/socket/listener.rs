//! A listener that accepts data in SYNs.

use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::arrival::{Accepted, Arrival, saved_syn};
use super::{FastOpenStream, option};
use crate::cookie::FastOpenKey;
use crate::error::{Error, Result};
use crate::socket::SynRecord;
use crate::sys::socket;

/// A TCP listener with fast open.
///
/// It also works where the host does not allow fast open: clients then get regular connections, and
/// [`tcp_fastopen`](crate::host::sysctl::tcp_fastopen) shows that.
#[derive(Debug)]
pub struct FastOpenListener {
    fd: OwnedFd,
    address: SocketAddr,
    save_syn: bool,
    /// Whether accepted streams are non-blocking.
    nonblocking: AtomicBool,
    inherited: bool,
    /// The effective length of the fast open queue, which may change while observers look at it.
    queue: Arc<AtomicU32>,
    /// Whether new connections are dropped. Connections accepted since then inherit the option that does it.
    drops: AtomicBool,
}

/// Options for listening.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a socket option")]
pub struct ListenerBuilder {
    address: SocketAddr,
    backlog: u32,
    queue: u32,
    keys: Option<(FastOpenKey, Option<FastOpenKey>)>,
    reuse_port: bool,
    save_syn: bool,
    no_cookie: bool,
    nodelay: bool,
    nonblocking: bool,
    defer_accept: Option<Duration>,
}

impl ListenerBuilder {
    /// Sets how many connections may wait to be accepted. Default: 1024. Silently capped by the kernel at
    /// `net.core.somaxconn`; see [`FastOpenListener::effective_backlog`].
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Sets how many connections may have passed on their data before their handshake has ended; 0 turns fast open
    /// off. Default: 256. See [`FastOpenListener::effective_queue`].
    #[must_use]
    pub fn queue(mut self, queue: u32) -> Self {
        self.queue = queue;
        self
    }

    /// Sets the keys for cookies: new cookies are made with `primary`, and those of `backup` are accepted as well.
    /// Default: the keys of the network namespace.
    #[must_use]
    pub fn keys(mut self, primary: FastOpenKey, backup: Option<FastOpenKey>) -> Self {
        self.keys = Some((primary, backup));
        self
    }

    /// Allows other listeners of the same user to share the address and port (`SO_REUSEPORT`). Default: off.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Saves the headers of each SYN for [`Arrival::syn`]. Default: on.
    #[must_use]
    pub fn save_syn(mut self, on: bool) -> Self {
        self.save_syn = on;
        self
    }

    /// Accepts data from SYNs without a cookie, **including forged ones**
    /// ([`TCP_FASTOPEN_NO_COOKIE`](option::set_fastopen_no_cookie)). Default: off.
    #[must_use]
    pub fn no_cookie(mut self, on: bool) -> Self {
        self.no_cookie = on;
        self
    }

    /// Sends small segments at once on the accepted connections, which inherit `TCP_NODELAY`. Default: off.
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Makes `accept`, and the streams that it returns, non-blocking. Default: off.
    #[must_use]
    pub fn nonblocking(mut self, on: bool) -> Self {
        self.nonblocking = on;
        self
    }

    /// Accepts a connection only once it has data, or after about this time. Default: off.
    #[must_use]
    pub fn defer_accept(mut self, time: Duration) -> Self {
        self.defer_accept = Some(time);
        self
    }

    /// Checks that no other socket is bound to the address, which listeners that share it by
    /// [`reuse_port`](Self::reuse_port) would not notice. Binds for a moment.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn check_free(&self) -> Result<()> {
        let fd = socket::tcp(self.address, true).map_err(|e| Error::system("socket", "", e))?;
        option::set_reuse(&fd, false)?;
        socket::bind(&fd, self.address).map_err(|e| Error::system("bind", self.address, e))
    }

    /// Binds, and starts to listen.
    ///
    /// # Errors
    /// The address is in use, is not local, or its port needs a privilege: see the error's [`kind`](Error::kind).
    pub fn listen(&self) -> Result<FastOpenListener> {
        let fd = socket::tcp(self.address, self.nonblocking)
            .map_err(|e| Error::system("socket", "", e))?;
        option::set_reuse(&fd, self.reuse_port)?;
        socket::bind(&fd, self.address).map_err(|e| Error::system("bind", self.address, e))?;
        // Everything is set before `listen`: the first SYN may come right after.
        self.configure(fd, false)
    }

    /// Adopts a socket that listens already, such as one from systemd. The socket gets the options of this builder,
    /// except [`reuse_port`](Self::reuse_port), and is closed on `exec` from now on.
    ///
    /// Connections that came before can be accepted. Their SYNs were not saved, so that an empty saved SYN does not
    /// indicate a SYN cookie here: it becomes [`SynRecord::NotSaved`].
    ///
    /// # Errors
    /// As [`FastOpenListener::address_of`]; the socket listens on another address than this builder's; or the
    /// kernel refused an option.
    pub fn adopt(&self, fd: OwnedFd) -> Result<FastOpenListener> {
        let address = FastOpenListener::address_of(&fd)?;
        if (address.ip(), address.port()) != (self.address.ip(), self.address.port()) {
            let reason = format!("listens on {address}: expected {}", self.address);
            return Err(Error::malformed(INHERITED, reason));
        }
        socket::close_on_exec(&fd).map_err(|e| Error::system("ioctl", "FIOCLEX", e))?;
        socket::set_nonblocking(&fd, self.nonblocking)
            .map_err(|e| Error::system("ioctl", "FIONBIO", e))?;
        self.configure(fd, true)
    }

    /// Sets the options, and starts to listen. On a socket that listens already, `listen` sets the backlog.
    fn configure(&self, fd: OwnedFd, inherited: bool) -> Result<FastOpenListener> {
        option::set_fastopen(&fd, self.queue)?;
        if let Some((primary, backup)) = &self.keys {
            option::set_fastopen_key(&fd, primary, backup.as_ref())?;
        }
        if self.save_syn {
            option::set_save_syn(&fd, true)?;
        }
        if self.no_cookie {
            option::set_fastopen_no_cookie(&fd, true)?;
        }
        if self.nodelay {
            option::set_nodelay(&fd, true)?;
        }
        if let Some(time) = self.defer_accept {
            option::set_defer_accept(&fd, time)?;
        }
        socket::listen(&fd, self.backlog).map_err(|e| Error::system("listen", self.address, e))?;
        if self.queue == 0 {
            // With the bit 0x400 of `net.ipv4.tcp_fastopen`, `listen` has made the queue as long as the backlog.
            option::set_fastopen(&fd, 0)?;
        }
        let address = socket::local_address(&fd)
            .map_err(|e| Error::system("getsockname", self.address, e))?;
        let (save_syn, nonblocking) = (self.save_syn, self.nonblocking.into());
        let queue = Arc::new(AtomicU32::new(option::fastopen(&fd).unwrap_or(0)));
        let drops = AtomicBool::new(false);
        Ok(FastOpenListener { fd, address, save_syn, nonblocking, inherited, queue, drops })
    }
}

const INHERITED: &str = "inherited socket";

impl FastOpenListener {
    /// Listens on `address` with the defaults of [`ListenerBuilder`].
    ///
    /// # Errors
    /// As [`ListenerBuilder::listen`].
    pub fn bind(address: SocketAddr) -> Result<Self> {
        Self::builder(address).listen()
    }

    /// Returns a [`ListenerBuilder`], to listen with options.
    #[must_use]
    pub fn builder(address: SocketAddr) -> ListenerBuilder {
        ListenerBuilder {
            address,
            backlog: 1024,
            queue: 256,
            keys: None,
            reuse_port: false,
            save_syn: true,
            no_cookie: false,
            nodelay: false,
            nonblocking: false,
            defer_accept: None,
        }
    }

    /// Returns the address of any listening socket.
    ///
    /// # Errors
    /// The socket is not a listening TCP socket of IPv4 or IPv6.
    pub fn address_of(fd: impl AsFd) -> Result<SocketAddr> {
        let fd = fd.as_fd();
        if !option::is_tcp_listener(fd) {
            return Err(Error::malformed(INHERITED, "expected a TCP socket that listens"));
        }
        socket::local_address(fd).map_err(|e| Error::system("getsockname", INHERITED, e))
    }

    /// Waits for the next connection.
    ///
    /// A connection with data in its SYN is returned at once, before its handshake has ended.
    ///
    /// # Errors
    /// As `accept(2)`. After [`is_resource_exhaustion`](Self::is_resource_exhaustion) the connection still waits in
    /// the accept queue; after [`is_transient_accept_error`](Self::is_transient_accept_error) the next call may
    /// succeed.
    pub fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = self.accept_raw()?;
        let arrival = self.arrival(&stream, peer)?;
        Ok(Accepted { stream, arrival })
    }

    /// Like [`accept`](Self::accept), without reading how the connection arrived. That saves two system calls, or
    /// postpones them: see [`arrival`](Self::arrival).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_raw(&self) -> io::Result<(FastOpenStream, SocketAddr)> {
        let (fd, peer) = socket::accept(&self.fd, self.nonblocking.load(Ordering::Relaxed))?;
        self.admit(&fd)?;
        Ok((FastOpenStream::accepted(fd), peer))
    }

    /// Lets an accepted connection hear its peer: it inherits the options of a listener that drops.
    pub(crate) fn admit(&self, accepted: impl AsFd) -> Result<()> {
        if self.drops.load(Ordering::SeqCst) { self.set_min_ttl(accepted, 0) } else { Ok(()) }
    }

    /// Returns an iterator over the connections, which never ends: each step is one [`accept`](Self::accept).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = tfo_core::socket::FastOpenListener::bind("0.0.0.0:2222".parse()?)?;
    /// for accepted in listener.incoming() {
    ///     println!("{}", accepted?.arrival.peer);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<Accepted>> {
        iter::repeat_with(|| self.accept())
    }

    /// Sets whether `accept`, and the streams that it returns from now on, are non-blocking.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        socket::set_nonblocking(self, on)?;
        self.nonblocking.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Reads how a connection of [`accept_raw`](Self::accept_raw) arrived. Call it once, and before anything else
    /// is done with the connection: the kernel returns a saved SYN only once.
    ///
    /// # Errors
    /// The kernel refused `TCP_INFO`.
    pub fn arrival(&self, stream: impl AsFd, peer: SocketAddr) -> Result<Arrival> {
        let stream = stream.as_fd();
        let tcp = option::tcp_bits(stream)?;
        let syn = if self.save_syn { saved_syn(stream) } else { SynRecord::NotSaved };
        let syn = match syn {
            // The SYN may have come before this listener started to save them.
            SynRecord::SynCookie if self.inherited => SynRecord::NotSaved,
            syn => syn,
        };
        // A saved SYN has it, and of most listeners it is known.
        let unknown = syn.saved().is_none() && self.address.ip().is_unspecified();
        let local = if unknown { socket::local_address(stream).ok() } else { None };
        Ok(Arrival { peer, local, tcp, syn })
    }

    /// Returns whether this error of [`accept`](Self::accept) means that the process or the system has no file
    /// descriptor or memory left. Wait before trying again.
    #[must_use]
    pub fn is_resource_exhaustion(error: &io::Error) -> bool {
        matches!(
            error.raw_os_error(),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
        )
    }

    /// Returns whether this error of [`accept`](Self::accept) concerns only one connection, which is gone. Try
    /// again at once. `accept(2)` returns errors of the network as well.
    #[must_use]
    pub fn is_transient_accept_error(error: &io::Error) -> bool {
        matches!(
            error.raw_os_error(),
            Some(
                libc::EINTR
                    | libc::ECONNABORTED
                    | libc::EPERM
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENOPROTOOPT
                    | libc::EHOSTDOWN
                    | libc::ENONET
                    | libc::EHOSTUNREACH
                    | libc::EOPNOTSUPP
                    | libc::ENETUNREACH
            )
        )
    }

    /// Permanently drops new connections, regular ones and fast open ones, without sending a reset. Their clients
    /// retransmit the SYN until the socket is closed and a reset answers it, or another socket listens there.
    ///
    /// No privilege is needed. To stop without losing a connection:
    /// 1. call this;
    /// 2. accept until no connection waits, and no handshake on the port is
    ///    [unfinished](crate::host::unfinished_handshakes): one that had begun before completes;
    /// 3. close the listener. Closing it before resets connections whose data the kernel has acknowledged.
    ///
    /// Sets `IP_MINTTL` and `IPV6_MINHOPCOUNT` to 255, which hardly any arriving packet has. A peer on the same
    /// link that sends with a TTL of 255 still connects. A connection whose handshake ends afterwards inherits the
    /// options and drops all packets until it is accepted: [`accept`](Self::accept) resets them, and the peer
    /// retransmits.
    ///
    /// The options belong to the socket, not to the file descriptor: an [inherited](Self::is_inherited) socket
    /// would stay deaf for its next owner. For such a socket it is enough to stop accepting: connections wait for
    /// the next owner. In a group of [`reuse_port`](ListenerBuilder::reuse_port) this listener still receives, and
    /// drops, its share of the SYNs: close it early.
    ///
    /// # Errors
    /// The kernel refused an option.
    #[doc(alias = "IP_MINTTL")]
    #[doc(alias = "IPV6_MINHOPCOUNT")]
    pub fn drop_new_connections(&self) -> Result<()> {
        // Set before the first connection can inherit the options.
        self.drops.store(true, Ordering::SeqCst);
        self.set_min_ttl(self, u8::MAX)
    }

    /// Sets the lowest TTL that a listener or a connection accepts.
    fn set_min_ttl(&self, fd: impl AsFd, ttl: u8) -> Result<()> {
        let fd = fd.as_fd();
        if self.address.is_ipv6() {
            option::set_min_hop_count(fd, ttl)?;
        }
        option::set_min_ttl(fd, ttl)
    }

    /// Returns whether the socket was inherited (see [`ListenerBuilder::adopt`]). Another process may still hold
    /// it, and pass it on later.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Returns the listen address, with the port that the kernel chose if 0 was requested.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the effective length of the fast open queue, capped by the kernel at `net.core.somaxconn`. 0: fast
    /// open is off.
    ///
    /// # Errors
    /// The kernel refused `TCP_FASTOPEN`.
    pub fn effective_queue(&self) -> Result<u32> {
        option::fastopen(self)
    }

    /// Returns the effective backlog, capped by the kernel at `net.core.somaxconn`.
    ///
    /// # Errors
    /// The kernel refused `TCP_INFO`.
    pub fn effective_backlog(&self) -> Result<u32> {
        // For a listener this is `tcpi_sacked`: see `tcp_get_info` in net/ipv4/tcp.c.
        option::tcp_info(self).map(|info| info.sacked.unwrap_or(0))
    }

    /// Returns the length of the accept queue, including fast open connections whose handshake has not ended.
    ///
    /// # Errors
    /// The kernel refused `TCP_INFO`.
    pub fn waiting(&self) -> Result<u32> {
        // For a listener this is `tcpi_unacked`: see `tcp_get_info` in net/ipv4/tcp.c.
        option::tcp_info(self).map(|info| info.unacked.unwrap_or(0))
    }

    /// Changes the length of the fast open queue while listening; 0 turns fast open off for new SYNs.
    ///
    /// # Errors
    /// The kernel refused `TCP_FASTOPEN`.
    pub fn set_queue(&self, queue: u32) -> Result<()> {
        option::set_fastopen(self, queue)?;
        self.queue.store(self.effective_queue()?, Ordering::Relaxed);
        Ok(())
    }

    /// The effective queue, as [`set_queue`](Self::set_queue) changes it.
    pub(crate) fn shared_queue(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.queue)
    }

    /// Replaces the keys while listening.
    ///
    /// Cookies of the previous keys are refused from now on, which costs each client one miss, unless the old key
    /// becomes `backup`.
    ///
    /// # Errors
    /// The kernel refused `TCP_FASTOPEN_KEY`.
    pub fn set_keys(&self, primary: &FastOpenKey, backup: Option<&FastOpenKey>) -> Result<()> {
        option::set_fastopen_key(self, primary, backup)
    }
}

impl AsFd for FastOpenListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for FastOpenListener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl IntoRawFd for FastOpenListener {
    fn into_raw_fd(self) -> RawFd {
        self.fd.into_raw_fd()
    }
}

/// The socket keeps its options: connections that it accepts from now on use fast open as well.
impl From<FastOpenListener> for TcpListener {
    fn from(listener: FastOpenListener) -> Self {
        listener.fd.into()
    }
}

impl From<FastOpenListener> for OwnedFd {
    fn from(listener: FastOpenListener) -> Self {
        listener.fd
    }
}
