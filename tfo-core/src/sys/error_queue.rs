//! The error queue of a socket: ICMP errors about what it sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use super::{check, check_len};

/// An ICMP error about a packet of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueuedError {
    /// ICMP or `ICMPv6`; else the host itself made the error.
    pub(crate) is_icmp: bool,
    /// Type and code of the ICMP message.
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// The MTU, in an error that says that a packet is too large.
    pub(crate) info: u32,
    /// Who sent it.
    pub(crate) offender: Option<IpAddr>,
    /// The TTL or hop limit that the ICMP message arrived with, where the socket asks for it.
    pub(crate) ttl: Option<u8>,
    /// The bytes of the quote that were written.
    pub(crate) quoted: usize,
}

/// Room for control messages, aligned as the kernel wants it.
#[repr(align(8))]
struct Control([u8; 512]);

/// `recvmsg(2)` with `MSG_ERRQUEUE`: takes the next error, and writes what it quotes, from the TCP header on, into
/// `quote`. `WouldBlock` if there is none.
///
/// # References
/// - [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), `IP_RECVERR`
pub(crate) fn next(fd: impl AsFd, quote: &mut [u8]) -> io::Result<QueuedError> {
    let mut control = Control([0; 512]);
    let mut part = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: quote.len() };
    // SAFETY: `msghdr` is integers and pointers; all zeros is a valid value of it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // Its type depends on the C library.
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `message` points to `part`, `quote` and `control`, which live over the call and have the lengths given.
    let length =
        check_len(unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) })?;
    let written: usize = message.msg_controllen as _;
    parse(control.0.get(..written).unwrap_or_default(), length.min(quote.len()))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `poll(2)` until an error is queued (`true`), or the time is over.
pub(crate) fn wait(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one `pollfd`, which lives over the call.
    Ok(check(unsafe { libc::poll(&raw mut poll, 1, timeout) })? > 0)
}

/// Reads control messages. `None`: no error is among them.
fn parse(control: &[u8], quoted: usize) -> Option<QueuedError> {
    let (mut found, mut ttl) = (None, None);
    let mut rest = control;
    while let Some((level, kind, body, next)) = split(rest) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                found = error(body);
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                let value = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                ttl = value.and_then(|value| u8::try_from(value).ok());
            }
            _ => {}
        }
        rest = next;
    }
    found.map(|error| QueuedError { ttl, quoted, ..error })
}

/// Level, type and bytes of the first control message (`struct cmsghdr`), and what follows it.
fn split(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    const LENGTH: usize = size_of::<usize>();
    const HEADER: usize = (LENGTH + 8).next_multiple_of(LENGTH);
    let length = usize::from_ne_bytes(*control.first_chunk()?);
    let level = i32::from_ne_bytes(*control.get(LENGTH..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*control.get(LENGTH + 4..)?.first_chunk()?);
    let body = control.get(HEADER..length)?;
    let next = control.get(length.next_multiple_of(LENGTH)..).unwrap_or_default();
    Some((level, kind, body, next))
}

/// Reads `struct sock_extended_err`, behind which is the sender's `struct sockaddr`.
fn error(body: &[u8]) -> Option<QueuedError> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
    let origin = *body.get(4)?;
    Some(QueuedError {
        is_icmp: matches!(origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6),
        kind: *body.get(5)?,
        code: *body.get(6)?,
        info: u32_at(8)?,
        offender: offender(body.get(16..).unwrap_or_default()),
        ttl: None,
        quoted: 0,
    })
}

fn offender(address: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*address.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(*address.get(4..)?.first_chunk::<4>()?).into()),
        libc::AF_INET6 => {
            let v6 = Ipv6Addr::from(*address.get(8..)?.first_chunk::<16>()?);
            Some(IpAddr::V6(v6).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn time_exceeded() -> Vec<u8> {
        let mut body = 113_u32.to_ne_bytes().to_vec();
        body.extend([2, 11, 0, 0]);
        body.extend([0; 8]);
        body.extend(u16::try_from(libc::AF_INET).unwrap().to_ne_bytes());
        body.extend([0, 0, 203, 0, 113, 3]);
        body.extend([0; 8]);
        message(libc::IPPROTO_IP, libc::IP_RECVERR, &body)
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn error_with_its_ttl_is_read() {
        let ttl = message(libc::IPPROTO_IP, libc::IP_TTL, &62_i32.to_ne_bytes());
        let found = parse(&[ttl, time_exceeded(), vec![0; 64]].concat(), 52).expect("an error");
        assert_eq!((found.is_icmp, found.kind, found.code), (true, 11, 0));
        assert_eq!(found.offender, Some([203, 0, 113, 3].into()));
        assert_eq!((found.ttl, found.quoted), (Some(62), 52));
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn cut_messages_are_read_within_bounds() {
        let whole = time_exceeded();
        for keep in 0..whole.len() {
            for at in 0..keep.min(16) {
                let mut cut = whole[..keep].to_vec();
                cut[at] ^= 0xff;
                let _ = parse(&cut, 0);
            }
            let _ = parse(&whole[..keep], 0);
        }
        assert_eq!(parse(&[], 0), None);
    }

    #[test]
    fn empty_queue_would_block() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = next(&socket, &mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
