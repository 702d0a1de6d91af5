//! TCP sockets: what `std` lacks, such as a SYN with data.

use std::io::{self, IoSlice};
#[cfg(feature = "tokio")]
use std::net::Shutdown;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::sockaddr::SockAddr;
use super::{check, check_len};

/// `UIO_MAXIOV`: the most slices of one call.
const MAX_SLICES: usize = 1024;

/// `socket(2)`: creates a TCP socket of this address's family, closed on `exec`.
pub(crate) fn tcp(address: SocketAddr, nonblocking: bool) -> io::Result<OwnedFd> {
    let domain = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: takes three integers.
    let fd = check(unsafe { libc::socket(domain, libc::SOCK_STREAM | flags, libc::IPPROTO_TCP) })?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bind(2)`.
pub(crate) fn bind(fd: impl AsFd, address: SocketAddr) -> io::Result<()> {
    let (raw, len) = SockAddr::new(address);
    // SAFETY: `raw` lives over the call and holds at least `len` bytes.
    check(unsafe { libc::bind(fd.as_fd().as_raw_fd(), raw.as_ptr(), len) }).map(drop)
}

/// `listen(2)`.
pub(crate) fn listen(fd: impl AsFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: takes two integers.
    check(unsafe { libc::listen(fd.as_fd().as_raw_fd(), backlog) }).map(drop)
}

/// `accept4(2)`: returns the connection, closed on `exec`, and the peer's address.
pub(crate) fn accept(fd: impl AsFd, nonblocking: bool) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    let mut raw = SockAddr::empty();
    let mut len = SockAddr::capacity();
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `raw` has room for `len` bytes, and both live over the call.
    let fd = check(unsafe { libc::accept4(fd, raw.as_mut_ptr(), &raw mut len, flags) })?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((fd, raw.to_std()?))
}

/// `getsockname(2)`.
pub(crate) fn local_address(fd: impl AsFd) -> io::Result<SocketAddr> {
    let mut raw = SockAddr::empty();
    let mut len = SockAddr::capacity();
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `raw` has room for `len` bytes, and both live over the call.
    check(unsafe { libc::getsockname(fd, raw.as_mut_ptr(), &raw mut len) })?;
    raw.to_std()
}

/// `connect(2)`.
pub(crate) fn connect(fd: impl AsFd, address: SocketAddr) -> io::Result<()> {
    let (raw, len) = SockAddr::new(address);
    // SAFETY: `raw` lives over the call and holds at least `len` bytes.
    check(unsafe { libc::connect(fd.as_fd().as_raw_fd(), raw.as_ptr(), len) }).map(drop)
}

/// `sendmsg(2)` with `MSG_FASTOPEN`: connects, with as much of `data` in the SYN as fits. Never raises SIGPIPE.
pub(crate) fn send_fastopen(
    fd: impl AsFd,
    data: &[IoSlice<'_>],
    address: SocketAddr,
) -> io::Result<usize> {
    sendmsg(fd.as_fd(), data, Some(address), libc::MSG_FASTOPEN)
}

/// `sendmsg(2)`: `send(2)` of several slices, as in one. Never raises SIGPIPE.
pub(crate) fn send_vectored(fd: impl AsFd, data: &[IoSlice<'_>]) -> io::Result<usize> {
    sendmsg(fd.as_fd(), data, None, 0)
}

fn sendmsg(
    fd: BorrowedFd<'_>,
    data: &[IoSlice<'_>],
    address: Option<SocketAddr>,
    flags: libc::c_int,
) -> io::Result<usize> {
    // The kernel refuses more slices.
    let data = data.get(..MAX_SLICES).unwrap_or(data);
    let mut raw = address.map(SockAddr::new);
    // SAFETY: `msghdr` is integers and pointers; all zeros is a valid value of it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if let Some((raw, len)) = &mut raw {
        message.msg_name = raw.as_mut_ptr().cast();
        message.msg_namelen = *len;
    }
    // `IoSlice` has the layout of `iovec`.
    message.msg_iov = data.as_ptr().cast::<libc::iovec>().cast_mut();
    message.msg_iovlen = data.len() as _;
    // SAFETY: `message` points to `raw` and `data`, which live over the call and have the lengths given; the kernel only
    // reads them.
    check_len(unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL)
    })
}

/// `send(2)`; with `more` (`MSG_MORE`) a last segment that is not full waits for more data. Never raises SIGPIPE.
pub(crate) fn send(fd: impl AsFd, data: &[u8], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `data` lives over the call and holds the length given.
    check_len(unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) })
}

/// `shutdown(2)`.
#[cfg(feature = "tokio")]
pub(crate) fn shutdown(fd: impl AsFd, how: Shutdown) -> io::Result<()> {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: takes two integers.
    check(unsafe { libc::shutdown(fd.as_fd().as_raw_fd(), how) }).map(drop)
}

/// `ioctl(2)` with `FIONBIO`: sets whether calls on the socket return at once.
pub(crate) fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut on = libc::c_int::from(on);
    // SAFETY: FIONBIO reads one int, which lives over the call.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONBIO, &raw mut on) }).map(drop)
}

/// `ioctl(2)` with `FIOCLEX`: closes the socket on `exec`.
pub(crate) fn close_on_exec(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: FIOCLEX takes no argument.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIOCLEX) }).map(drop)
}

/// What [`wait_writable`] has waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// Which of the sockets.
    pub(crate) index: usize,
    /// An ICMP error is queued, and no more: the kernel is about to fail the handshake, or the socket was in use when the
    /// error came. Then only `SO_ERROR` has it, and the handshake goes on.
    pub(crate) queued_error: bool,
}

/// `poll(2)`: waits until the socket is writable or has an error; returns `None` when the time is over. A timeout of `None`
/// waits forever. An interruption by a signal is an error (`EINTR`).
pub(crate) fn wait_writable(
    fd: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> io::Result<Option<Ready>> {
    poll_writable(&mut [writable(fd)], timeout)
}

/// [`wait_writable`] for several sockets.
pub(crate) fn wait_any_writable(
    fds: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<Option<Ready>> {
    let mut polled: Vec<_> = fds.iter().copied().map(writable).collect();
    poll_writable(&mut polled, timeout)
}

fn writable(fd: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 }
}

fn poll_writable(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<Option<Ready>> {
    // Rounded up: a wait that ends early would become a busy loop.
    let timeout = timeout
        .map_or(-1, |time| i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    let count = libc::nfds_t::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `fds` lives over the call and holds `count` elements.
    check(unsafe { libc::poll(fds.as_mut_ptr(), count, timeout) })?;
    let index = fds.iter().position(|fd| fd.revents != 0);
    Ok(index.map(|index| Ready { index, queued_error: fds[index].revents == libc::POLLERR }))
}
