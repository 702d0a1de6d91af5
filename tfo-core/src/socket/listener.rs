//! A listener that accepts data in SYNs.

use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::arrival::{Accepted, Arrival, saved_syn};
use super::{FastOpenStream, option};
use crate::cookie::FastOpenKey;
use crate::error::Result;
use crate::socket::SynRecord;
use crate::sys::socket;

/// A TCP listener with fast open.
///
/// It also works where the host does not allow fast open: clients then get regular connections, and
/// [`tcp_fastopen`](crate::host::sysctl::tcp_fastopen) shows that.
///
/// ```no_run
/// use std::io::Write;
/// use tfo_core::socket::FastOpenListener;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = FastOpenListener::bind("0.0.0.0:2222")?;
/// for accepted in listener.incoming() {
///     let mut accepted = accepted?;
///     println!("{}: data in the SYN: {}", accepted.arrival.peer, accepted.arrival.tcp.syn_data);
///     accepted.stream.write_all(b"welcome\n")?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FastOpenListener {
    pub(super) fd: OwnedFd,
    pub(super) address: SocketAddr,
    pub(super) save_syn: bool,
    /// Whether accepted streams are non-blocking.
    pub(super) nonblocking: AtomicBool,
    pub(super) inherited: bool,
    /// The effective length of the fast open queue, which may change while observers look at it.
    pub(super) queue: Arc<AtomicU32>,
    /// Whether new connections are dropped. Connections accepted since then inherit the option that does it.
    pub(super) drops: AtomicBool,
}

impl FastOpenListener {
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
    /// the next owner. In a group of [`reuse_port`](super::ListenerBuilder::reuse_port) this listener still receives, and
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

    /// Returns whether the socket was [inherited](super::ListenerBuilder::adopt). Another process may still hold it, and
    /// pass it on later.
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
