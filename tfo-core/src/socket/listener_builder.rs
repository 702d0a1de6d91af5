//! Options for listening, and the ways to get a listener.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use super::{FastOpenListener, option};
use crate::cookie::FastOpenKey;
use crate::error::{Error, Result};
use crate::sys::socket;

/// Options for listening.
///
/// ```no_run
/// use tfo_core::socket::FastOpenListener;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = FastOpenListener::builder("0.0.0.0:2222".parse()?).queue(256).backlog(1024);
/// let listener = builder.listen()?;
/// println!("fast open queue: {}", listener.effective_queue()?);
/// # Ok(())
/// # }
/// ```
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

    /// Saves the headers of each SYN for [`Arrival::syn`](super::Arrival::syn). Default: on.
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
    /// indicate a SYN cookie here: it becomes [`SynRecord::NotSaved`](super::SynRecord::NotSaved).
    ///
    /// ```
    /// use tfo_core::socket::FastOpenListener;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let listener = FastOpenListener::builder(listener.local_addr()?).adopt(listener)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`FastOpenListener::address_of`]; the socket listens on another address than this builder's; or the
    /// kernel refused an option.
    pub fn adopt(&self, fd: impl Into<OwnedFd>) -> Result<FastOpenListener> {
        let fd = fd.into();
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
    /// Listens on `address` with the defaults of [`ListenerBuilder`]. Of several addresses, on the first that can be
    /// bound.
    ///
    /// # Errors
    /// As [`ListenerBuilder::listen`], for the last address; or that of the resolution.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        let resolve = |e| Error::system("resolve", "the listen address", e);
        let mut failure = None;
        for address in address.to_socket_addrs().map_err(resolve)? {
            match Self::builder(address).listen() {
                Ok(listener) => return Ok(listener),
                Err(e) => failure = Some(e),
            }
        }
        Err(failure.unwrap_or_else(|| resolve(io::ErrorKind::NotFound.into())))
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
}
