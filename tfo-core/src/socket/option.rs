//! One function per socket option, typed by its meaning.
//!
//! Each function takes any socket (`AsFd`), and fails if the kernel refuses the option; the error names the option. One
//! line turns fast open on for a listener of any crate:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tfo_core::socket::option;
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! option::set_fastopen(&listener, 256)?;
//! # Ok(())
//! # }
//! ```
//!
//! With [socket2](https://docs.rs/socket2), for a client: the next `connect` waits for the first write and puts its bytes
//! into the SYN.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tfo_core::socket::option;
//! let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
//! option::set_fastopen_connect(&socket, true)?;
//! # Ok(())
//! # }
//! ```
//!
//! With [mio](https://docs.rs/mio):
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tfo_core::socket::option;
//! let listener = mio::net::TcpListener::bind("127.0.0.1:0".parse()?)?;
//! option::set_fastopen(&listener, 256)?;
//! # Ok(())
//! # }
//! ```
//!
//! With [tokio](https://docs.rs/tokio), for both ends:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tfo_core::socket::option;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! option::set_fastopen(&listener, 256)?;
//! let socket = tokio::net::TcpSocket::new_v4()?;
//! option::set_fastopen_connect(&socket, true)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`tcp_bits`] returns whether the SYN of a connection carried data that was acknowledged, and [`saved_syn`] the SYN:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tfo_core::socket::option;
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! option::set_save_syn(&listener, true)?;
//! let (stream, _) = listener.accept()?;
//! println!("data in the SYN: {}", option::tcp_bits(&stream)?.syn_data);
//! println!("its option: {:?}", option::saved_syn(&stream)?.and_then(|syn| syn.fast_open()));
//! # Ok(())
//! # }
//! ```

#![allow(clippy::missing_errors_doc, reason = "said once, above")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use libc::{IPPROTO_TCP, SOL_SOCKET};

use crate::cookie::FastOpenKey;
use crate::error::{Error, Result};
use crate::socket::{SavedSyn, TcpBits, TcpInfo, TcpState};
use crate::sys::{socket, sockopt};

/// `MAX_TCP_KEEPIDLE`: more seconds are refused.
const MAX_KEEPIDLE: i32 = 32767;

/// `setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, queue)`: lets a listener accept data in SYNs.
///
/// `queue` is the number of connections that may have passed on their data before their handshake has ended; 0
/// turns fast open off, also while listening. It may be set before and after `listen`. Silently capped by the
/// kernel at `net.core.somaxconn`: [`fastopen`] returns the effective length. It **succeeds while the server's bit
/// of `net.ipv4.tcp_fastopen` is off**.
///
/// # References
/// - [tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html)
/// - [RFC 7413, section 5.1](https://www.rfc-editor.org/rfc/rfc7413#section-5.1), `PendingFastOpenRequests`
#[doc(alias = "TCP_FASTOPEN")]
pub fn set_fastopen(fd: impl AsFd, queue: u32) -> Result<()> {
    // -1 is EINVAL; the kernel caps what exceeds an int anyway.
    let queue = i32::try_from(queue).unwrap_or(i32::MAX);
    set_int(fd, libc::TCP_FASTOPEN, "TCP_FASTOPEN", queue)
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN)`: the effective length of the listener's fast open queue. 0: fast
/// open is off.
#[doc(alias = "TCP_FASTOPEN")]
pub fn fastopen(fd: impl AsFd) -> Result<u32> {
    int(fd, libc::TCP_FASTOPEN, "TCP_FASTOPEN").map(|queue| u32::try_from(queue).unwrap_or(0))
}

/// `setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, on)`: the next `connect` of this socket waits for the first
/// write and puts its bytes into the SYN, if a cookie is cached.
///
/// Returns `Ok(false)` if this host does not allow it (the client's bit of `net.ipv4.tcp_fastopen` is off), or if
/// its kernel is older than 4.11. With a cached cookie `connect` **sends nothing** and returns 0; a read before the
/// first write then waits forever.
///
/// # References
/// - [tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html)
#[doc(alias = "TCP_FASTOPEN_CONNECT")]
pub fn set_fastopen_connect(fd: impl AsFd, on: bool) -> Result<bool> {
    let set = sockopt::set_int(&fd, IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, on.into());
    match set {
        Ok(()) => Ok(true),
        Err(e)
            if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOPROTOOPT))
                && is_tcp(&fd) =>
        {
            Ok(false)
        }
        Err(e) => Err(Error::system("setsockopt", "TCP_FASTOPEN_CONNECT", e)),
    }
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT)`: whether the next `connect` waits for the first write.
#[doc(alias = "TCP_FASTOPEN_CONNECT")]
pub fn fastopen_connect(fd: impl AsFd) -> Result<bool> {
    int(fd, libc::TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT").map(|on| on != 0)
}

/// `setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, …)`: sets the keys for a listener's cookies, instead of those of
/// its network namespace. Needs no privilege.
///
/// New cookies are made with `primary`; cookies of `backup` are accepted and renewed.
///
/// # References
/// - [ip-sysctl, tcp_fastopen_key](https://docs.kernel.org/networking/ip-sysctl.html)
#[doc(alias = "TCP_FASTOPEN_KEY")]
pub fn set_fastopen_key(
    fd: impl AsFd,
    primary: &FastOpenKey,
    backup: Option<&FastOpenKey>,
) -> Result<()> {
    let mut keys = [0; 2 * FastOpenKey::LENGTH];
    let (first, second) = keys.split_at_mut(FastOpenKey::LENGTH);
    first.copy_from_slice(primary.as_bytes());
    let keys = if let Some(backup) = backup {
        second.copy_from_slice(backup.as_bytes());
        &keys[..]
    } else {
        &keys[..FastOpenKey::LENGTH]
    };
    sockopt::set_bytes(fd, IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, keys)
        .map_err(|e| Error::system("setsockopt", "TCP_FASTOPEN_KEY", e))
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY)`: the listener's own keys, primary first. Empty if the listener
/// uses those of its network namespace.
#[doc(alias = "TCP_FASTOPEN_KEY")]
pub fn fastopen_key(fd: impl AsFd) -> Result<Vec<FastOpenKey>> {
    let mut keys = [0; 2 * FastOpenKey::LENGTH];
    let len = sockopt::bytes(fd, IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &mut keys)
        .map_err(|e| Error::system("getsockopt", "TCP_FASTOPEN_KEY", e))?;
    let (keys, _) = keys[..len].as_chunks::<{ FastOpenKey::LENGTH }>();
    Ok(keys.iter().copied().map(FastOpenKey::new).collect())
}

/// `setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, on)`: uses fast open without cookies.
///
/// On a client's socket: data is put into the SYN although no cookie is cached. On a listener: the data of any SYN
/// is accepted, **including forged ones**. Returns `Ok(false)` if the kernel is older than 4.15.
#[doc(alias = "TCP_FASTOPEN_NO_COOKIE")]
pub fn set_fastopen_no_cookie(fd: impl AsFd, on: bool) -> Result<bool> {
    match sockopt::set_int(&fd, IPPROTO_TCP, libc::TCP_FASTOPEN_NO_COOKIE, on.into()) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) && is_tcp(&fd) => Ok(false),
        Err(e) => Err(Error::system("setsockopt", "TCP_FASTOPEN_NO_COOKIE", e)),
    }
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE)`: whether no cookie is needed.
#[doc(alias = "TCP_FASTOPEN_NO_COOKIE")]
pub fn fastopen_no_cookie(fd: impl AsFd) -> Result<bool> {
    int(fd, libc::TCP_FASTOPEN_NO_COOKIE, "TCP_FASTOPEN_NO_COOKIE").map(|on| on != 0)
}

/// `setsockopt(fd, IPPROTO_TCP, TCP_SAVE_SYN, on)`: lets a listener save the headers of SYNs from now on, for
/// [`saved_syn`].
#[doc(alias = "TCP_SAVE_SYN")]
pub fn set_save_syn(fd: impl AsFd, on: bool) -> Result<()> {
    set_int(fd, libc::TCP_SAVE_SYN, "TCP_SAVE_SYN", on.into())
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN)`: the headers of the SYN that made this accepted connection.
///
/// Returns them once: the kernel then frees them. `None`: they were read before, the listener does not
/// [save](set_save_syn) them, or the kernel answered with a SYN cookie and saved nothing.
#[doc(alias = "TCP_SAVED_SYN")]
pub fn saved_syn(fd: impl AsFd) -> Result<Option<SavedSyn>> {
    parse_saved_syn(fd, SavedSyn::parse)
}

/// [`saved_syn`], parsed by `parse`.
pub(super) fn parse_saved_syn<T>(
    fd: impl AsFd,
    parse: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<Option<T>> {
    let mut buffer = [0; SavedSyn::MAX_LENGTH];
    let len = sockopt::bytes(fd, IPPROTO_TCP, libc::TCP_SAVED_SYN, &mut buffer)
        .map_err(|e| Error::system("getsockopt", "TCP_SAVED_SYN", e))?;
    if len == 0 { Ok(None) } else { parse(buffer.get(..len).unwrap_or_default()).map(Some) }
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_INFO)`: what the kernel reports about the connection.
#[doc(alias = "TCP_INFO")]
pub fn tcp_info(fd: impl AsFd) -> Result<TcpInfo> {
    // Linux 6.18 returns 280 bytes; more than the buffer holds is cut off.
    let mut buffer = [0; 512];
    let len = sockopt::bytes(fd, IPPROTO_TCP, libc::TCP_INFO, &mut buffer)
        .map_err(|e| Error::system("getsockopt", "TCP_INFO", e))?;
    TcpInfo::parse(&buffer[..len])
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP)`: the `TSval` that a segment of this connection would carry now, in
/// milliseconds unless the route asks for microseconds. Without timestamps it means nothing.
#[doc(alias = "TCP_TIMESTAMP")]
pub(crate) fn timestamp(fd: impl AsFd) -> Result<u32> {
    let value = sockopt::int(fd, IPPROTO_TCP, libc::TCP_TIMESTAMP)
        .map_err(|e| Error::system("getsockopt", "TCP_TIMESTAMP", e))?;
    Ok(value.cast_unsigned())
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_INFO)`: the part that verdicts rest on.
///
/// Cheaper than [`tcp_info`] when there are many connections: copies and parses less. As with [`tcp_info`], the
/// outcome of fast open is settled once the handshake has ended.
#[doc(alias = "TCP_INFO")]
pub fn tcp_bits(fd: impl AsFd) -> Result<TcpBits> {
    let mut buffer = [0; TcpBits::LENGTH];
    let len = sockopt::bytes(fd, IPPROTO_TCP, libc::TCP_INFO, &mut buffer)
        .map_err(|e| Error::system("getsockopt", "TCP_INFO", e))?;
    TcpBits::parse(buffer.get(..len).unwrap_or_default())
}

/// `setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, on)`, for IPv6 as well: a bind to port 0 leaves the choice
/// of the port to `connect`, which can reuse a port towards another destination. Returns `Ok(false)` if the kernel
/// is older than 4.2.
///
/// # References
/// - [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html)
#[doc(alias = "IP_BIND_ADDRESS_NO_PORT")]
pub fn set_bind_address_no_port(fd: impl AsFd, on: bool) -> Result<bool> {
    match sockopt::set_int(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, on.into()) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(false),
        Err(e) => Err(Error::system("setsockopt", "IP_BIND_ADDRESS_NO_PORT", e)),
    }
}

/// `setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface)`: sends and receives only by this network interface.
///
/// Needs `CAP_NET_RAW` on kernels older than 5.7.
///
/// # References
/// - [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html)
#[doc(alias = "SO_BINDTODEVICE")]
pub fn set_bind_to_device(fd: impl AsFd, interface: &str) -> Result<()> {
    let name = interface.as_bytes();
    // The kernel takes the beginning of a longer name for the name.
    let set = if name.len() >= libc::IFNAMSIZ || name.contains(&0) {
        Err(io::Error::from_raw_os_error(libc::ENODEV))
    } else {
        sockopt::set_bytes(fd, SOL_SOCKET, libc::SO_BINDTODEVICE, name)
    };
    set.map_err(|e| Error::system("setsockopt", format_args!("SO_BINDTODEVICE {interface}"), e))
}

/// `setsockopt(fd, IPPROTO_IP, IP_MINTTL, ttl)`: drops packets that arrive with a smaller TTL; 0 accepts all.
/// Sockets that a listener accepts inherit it. Also applies to the IPv4 connections of an IPv6 socket.
///
/// # References
/// - [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html)
/// - [RFC 5082](https://www.rfc-editor.org/rfc/rfc5082), which it was made for
#[doc(alias = "IP_MINTTL")]
pub fn set_min_ttl(fd: impl AsFd, ttl: u8) -> Result<()> {
    sockopt::set_int(fd, libc::IPPROTO_IP, libc::IP_MINTTL, ttl.into())
        .map_err(|e| Error::system("setsockopt", "IP_MINTTL", e))
}

/// `getsockopt(fd, IPPROTO_IP, IP_MINTTL)`: the smallest TTL of a packet that is not dropped.
#[doc(alias = "IP_MINTTL")]
pub fn min_ttl(fd: impl AsFd) -> Result<u8> {
    sockopt::int(fd, libc::IPPROTO_IP, libc::IP_MINTTL)
        .map(|ttl| u8::try_from(ttl).unwrap_or(u8::MAX))
        .map_err(|e| Error::system("getsockopt", "IP_MINTTL", e))
}

/// `setsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, hops)`: [`set_min_ttl`] for the IPv6 connections of an IPv6 socket.
#[doc(alias = "IPV6_MINHOPCOUNT")]
pub fn set_min_hop_count(fd: impl AsFd, hops: u8) -> Result<()> {
    sockopt::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, hops.into())
        .map_err(|e| Error::system("setsockopt", "IPV6_MINHOPCOUNT", e))
}

/// `getsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT)`: the smallest hop limit of a packet that is not dropped.
#[doc(alias = "IPV6_MINHOPCOUNT")]
pub fn min_hop_count(fd: impl AsFd) -> Result<u8> {
    sockopt::int(fd, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
        .map(|hops| u8::try_from(hops).unwrap_or(u8::MAX))
        .map_err(|e| Error::system("getsockopt", "IPV6_MINHOPCOUNT", e))
}

/// `setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds)`: lets a listener accept a connection only once it has
/// data, or after about this time. The kernel rounds to its SYN-ACK retransmissions; zero turns it off.
#[doc(alias = "TCP_DEFER_ACCEPT")]
pub fn set_defer_accept(fd: impl AsFd, time: Duration) -> Result<()> {
    let seconds = time.as_millis().div_ceil(1000);
    set_int(fd, libc::TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT", saturating(seconds))
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT)`: the time as rounded by the kernel.
#[doc(alias = "TCP_DEFER_ACCEPT")]
pub fn defer_accept(fd: impl AsFd) -> Result<Duration> {
    let seconds = int(fd, libc::TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT")?;
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, milliseconds)`: how long sent data may stay unacknowledged before
/// the connection fails; zero is the system's default.
///
/// # References
/// - [RFC 5482](https://www.rfc-editor.org/rfc/rfc5482)
#[doc(alias = "TCP_USER_TIMEOUT")]
pub fn set_user_timeout(fd: impl AsFd, time: Duration) -> Result<()> {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    set_int(fd, libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT", saturating(milliseconds))
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT)`: how long sent data may stay unacknowledged.
#[doc(alias = "TCP_USER_TIMEOUT")]
pub fn user_timeout(fd: impl AsFd) -> Result<Duration> {
    let milliseconds = int(fd, libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT")?;
    Ok(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)))
}

/// `setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, on)`: sends small segments at once.
#[doc(alias = "TCP_NODELAY")]
pub fn set_nodelay(fd: impl AsFd, on: bool) -> Result<()> {
    set_int(fd, libc::TCP_NODELAY, "TCP_NODELAY", on.into())
}

/// `getsockopt(fd, IPPROTO_TCP, TCP_NODELAY)`: whether small segments are sent at once.
#[doc(alias = "TCP_NODELAY")]
pub fn nodelay(fd: impl AsFd) -> Result<bool> {
    int(fd, libc::TCP_NODELAY, "TCP_NODELAY").map(|on| on != 0)
}

/// `setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, …)` and `setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds)`: after which
/// idle time the kernel probes whether the peer is still there, rounded up to seconds, from 1 to 32767. `None`: never.
///
/// # References
/// - [tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html), `TCP_KEEPIDLE`
#[doc(alias = "SO_KEEPALIVE")]
#[doc(alias = "TCP_KEEPIDLE")]
pub fn set_keepalive(fd: impl AsFd, idle: Option<Duration>) -> Result<()> {
    let fd = fd.as_fd();
    if let Some(idle) = idle {
        let seconds = saturating(idle.as_millis().div_ceil(1000)).clamp(1, MAX_KEEPIDLE);
        set_int(fd, libc::TCP_KEEPIDLE, "TCP_KEEPIDLE", seconds)?;
    }
    sockopt::set_int(fd, SOL_SOCKET, libc::SO_KEEPALIVE, idle.is_some().into())
        .map_err(|e| Error::system("setsockopt", "SO_KEEPALIVE", e))
}

/// `getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE)` and `getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE)`: the idle time before a probe.
#[doc(alias = "SO_KEEPALIVE")]
#[doc(alias = "TCP_KEEPIDLE")]
pub fn keepalive(fd: impl AsFd) -> Result<Option<Duration>> {
    let fd = fd.as_fd();
    let on = sockopt::int(fd, SOL_SOCKET, libc::SO_KEEPALIVE)
        .map_err(|e| Error::system("getsockopt", "SO_KEEPALIVE", e))?;
    let seconds = int(fd, libc::TCP_KEEPIDLE, "TCP_KEEPIDLE")?;
    Ok((on != 0).then(|| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
}

/// `setsockopt(fd, SOL_SOCKET, SO_LINGER, …)`: what closing does with unsent data. `None`: the data is sent in the
/// background. `Some`: closing waits for this many seconds (rounded up); zero resets the connection.
///
/// # References
/// - [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html)
#[doc(alias = "SO_LINGER")]
pub fn set_linger(fd: impl AsFd, time: Option<Duration>) -> Result<()> {
    let seconds = time.map_or(0, |time| saturating(time.as_millis().div_ceil(1000)));
    // `struct linger` is two ints.
    let mut value = [0; 8];
    value[..4].copy_from_slice(&i32::from(time.is_some()).to_ne_bytes());
    value[4..].copy_from_slice(&seconds.to_ne_bytes());
    sockopt::set_bytes(fd, SOL_SOCKET, libc::SO_LINGER, &value)
        .map_err(|e| Error::system("setsockopt", "SO_LINGER", e))
}

/// `getsockopt(fd, SOL_SOCKET, SO_LINGER)`: what closing does with unsent data.
#[doc(alias = "SO_LINGER")]
pub fn linger(fd: impl AsFd) -> Result<Option<Duration>> {
    let mut value = [0; 8];
    sockopt::bytes(fd, SOL_SOCKET, libc::SO_LINGER, &mut value)
        .map_err(|e| Error::system("getsockopt", "SO_LINGER", e))?;
    let [a, b, c, d, seconds @ ..] = value;
    let on = i32::from_ne_bytes([a, b, c, d]) != 0;
    let seconds = u64::try_from(i32::from_ne_bytes(seconds)).unwrap_or(0);
    Ok(on.then(|| Duration::from_secs(seconds)))
}

/// `setsockopt(fd, SOL_SOCKET, SO_REUSEADDR | SO_REUSEPORT, …)`, for the listener.
pub(super) fn set_reuse(fd: impl AsFd, port: bool) -> Result<()> {
    let fd = fd.as_fd();
    sockopt::set_int(fd, SOL_SOCKET, libc::SO_REUSEADDR, 1)
        .map_err(|e| Error::system("setsockopt", "SO_REUSEADDR", e))?;
    if port {
        sockopt::set_int(fd, SOL_SOCKET, libc::SO_REUSEPORT, 1)
            .map_err(|e| Error::system("setsockopt", "SO_REUSEPORT", e))?;
    }
    Ok(())
}

/// `getsockopt(fd, SOL_SOCKET, SO_PROTOCOL | SO_ACCEPTCONN)`: whether this is a listening TCP socket; `false` for
/// any other file descriptor.
pub(super) fn is_tcp_listener(fd: impl AsFd) -> bool {
    let fd = fd.as_fd();
    let is = |name, value| sockopt::int(fd, SOL_SOCKET, name).is_ok_and(|int| int == value);
    is(libc::SO_PROTOCOL, IPPROTO_TCP) && is(libc::SO_ACCEPTCONN, 1)
}

/// `getsockopt(fd, SOL_SOCKET, SO_PROTOCOL)`: whether this is a TCP or MPTCP socket.
fn is_tcp(fd: impl AsFd) -> bool {
    let protocol = sockopt::int(fd, SOL_SOCKET, libc::SO_PROTOCOL);
    matches!(protocol, Ok(IPPROTO_TCP | libc::IPPROTO_MPTCP))
}

/// Checks that the socket may connect to `server`: it is TCP, of that family, and has not connected or listened.
pub(super) fn check_unconnected(fd: impl AsFd, server: SocketAddr) -> Result<()> {
    let fd = fd.as_fd();
    if !is_tcp(fd) {
        return Err(Error::malformed("socket", "not a TCP socket"));
    }
    let own = socket::local_address(fd).map_err(|e| Error::system("getsockname", "", e))?;
    let errno = match tcp_bits(fd)?.state {
        TcpState::Close if own.is_ipv4() == server.is_ipv4() => return Ok(()),
        TcpState::Close => libc::EAFNOSUPPORT,
        TcpState::SynSent => libc::EALREADY,
        _ => libc::EISCONN,
    };
    Err(Error::system("connect", server, io::Error::from_raw_os_error(errno)))
}

/// `getsockopt(fd, SOL_SOCKET, SO_ERROR)`: takes the socket's pending error.
pub(crate) fn take_error(fd: impl AsFd) -> io::Result<()> {
    match sockopt::int(fd, SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn set_int(fd: impl AsFd, name: i32, text: &'static str, value: i32) -> Result<()> {
    sockopt::set_int(fd, IPPROTO_TCP, name, value).map_err(|e| Error::system("setsockopt", text, e))
}

fn int(fd: impl AsFd, name: i32, text: &'static str) -> Result<i32> {
    sockopt::int(fd, IPPROTO_TCP, name).map_err(|e| Error::system("getsockopt", text, e))
}

fn saturating(value: u128) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
