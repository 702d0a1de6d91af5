//! Netlink sockets.

#![allow(unsafe_code, reason = "system calls; each block has its proof")]

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// More than the kernel puts into one datagram of a dump (32 KiB).
const DATAGRAM: usize = 64 * 1024;

/// A netlink socket that is connected to the kernel, so that no other sender reaches it.
///
/// It belongs to the network namespace of the thread that opened it.
///
/// # References
/// - [`netlink(7)`](https://man7.org/linux/man-pages/man7/netlink.7.html)
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    fd: OwnedFd,
}

impl NetlinkSocket {
    /// Opens a socket of this protocol, such as `NETLINK_GENERIC` or `NETLINK_ROUTE`.
    pub(crate) fn open(protocol: i32) -> io::Result<Self> {
        // SAFETY: socket takes integers only.
        let fd = check(unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol)
        })?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd };
        socket.connect_to_kernel()?;
        Ok(socket)
    }

    fn connect_to_kernel(&self) -> io::Result<()> {
        // SAFETY: sockaddr_nl is integers only: all zeros are a value of it.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).unwrap_or_default();
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_nl>()).unwrap_or_default();
        // SAFETY: the pointer and the length are those of `address`, which lives until the call returns.
        check(unsafe { libc::connect(self.fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(())
    }

    /// Sends `message`, and passes on the datagrams that come back until `on_datagram` breaks.
    ///
    /// Returns `TimedOut` if it has not broken within `limit`.
    pub(crate) fn request<B>(
        &self,
        message: &[u8],
        limit: Duration,
        mut on_datagram: impl FnMut(&[u8]) -> ControlFlow<B>,
    ) -> io::Result<B> {
        let start = Instant::now();
        self.send(message)?;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let rest = limit.saturating_sub(start.elapsed());
            let length = self.receive(&mut buffer, rest)?;
            let datagram = buffer.get(..length).ok_or_else(|| {
                let text = format!("a netlink datagram of {length} bytes was cut");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            if let ControlFlow::Break(value) = on_datagram(datagram) {
                return Ok(value);
            }
        }
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        retry(|| {
            // SAFETY: the pointer and the length are those of `message`.
            unsafe { libc::send(self.fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) }
        })?;
        Ok(())
    }

    /// Returns the full length of the next datagram, which exceeds `buffer` if the datagram was cut.
    fn receive(&self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.wait_readable(limit)?;
        retry(|| {
            // SAFETY: the pointer and the length are those of `buffer`, which is ours alone.
            unsafe {
                libc::recv(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_TRUNC | libc::MSG_DONTWAIT,
                )
            }
        })
    }

    fn wait_readable(&self, limit: Duration) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let start = Instant::now();
        let ready = retry(|| {
            let rest = limit.saturating_sub(start.elapsed()).as_millis();
            let rest = libc::c_int::try_from(rest).unwrap_or(libc::c_int::MAX);
            // SAFETY: the pointer is to one pollfd, as the count says, and it is ours alone.
            let ready = unsafe { libc::poll(&raw mut poll, 1, rest) };
            ready as libc::ssize_t
        })?;
        if ready == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        // Only a negative result does not fit.
        if let Ok(result) = usize::try_from(call()) {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_never_completes_ends_at_the_limit() {
        let socket = NetlinkSocket::open(libc::NETLINK_ROUTE).expect("anybody may open one");
        // NLMSG_NOOP with NLM_F_REQUEST and NLM_F_ACK: the kernel answers with one acknowledgment.
        let mut message = [0; 16];
        message[..4].copy_from_slice(&16_u32.to_ne_bytes());
        message[4..6].copy_from_slice(&1_u16.to_ne_bytes());
        message[6..8].copy_from_slice(&5_u16.to_ne_bytes());
        let mut datagrams = 0;
        let error = socket
            .request(&message, Duration::from_millis(20), |_| {
                datagrams += 1;
                ControlFlow::<()>::Continue(())
            })
            .expect_err("nothing breaks");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(datagrams, 1, "the acknowledgment was handed out");
    }

    #[test]
    fn an_unknown_protocol_is_an_error() {
        let error = NetlinkSocket::open(31).expect_err("there is no such protocol");
        assert_eq!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT));
    }
}
