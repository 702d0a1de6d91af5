//! Connects with the SYN deferred to the first write.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::connector::{in_progress, start_regular};
use super::{Attempt, Connector, Method, option};
use crate::error::{Error, Result};
use crate::sys::socket;

impl Connector {
    /// Connects to `server` by `TCP_FASTOPEN_CONNECT`, and returns at once. The socket is non-blocking.
    ///
    /// With a cached cookie the kernel sends nothing before the first write ([`send_first`]), and the attempt is
    /// `None`. Otherwise the SYN is under way.
    pub(crate) fn connect_deferred(
        &self,
        server: SocketAddr,
    ) -> Result<(OwnedFd, Option<Attempt>)> {
        let fd = self.open(server)?;
        let attempt = self.defer(&fd, server).map_err(|e| Error::system("connect", server, e))?;
        Ok((fd, attempt))
    }

    fn defer(&self, fd: &OwnedFd, server: SocketAddr) -> io::Result<Option<Attempt>> {
        if self.method == Method::Off {
            return start_regular(fd, server, Attempt::Regular).map(Some);
        }
        if !option::set_fastopen_connect(fd, true).map_err(io::Error::from)? {
            return start_regular(fd, server, Attempt::ClientDisabled).map(Some);
        }
        match socket::connect(fd, server) {
            Ok(()) => Ok(None),
            Err(e) if in_progress(&e) => Ok(Some(Attempt::AfterHandshake)),
            Err(e) => Err(e),
        }
    }
}

/// Sends the deferred SYN with as much of `first` as fits. Returns what the kernel did with the bytes; `None` if
/// another thread has sent the SYN.
pub(crate) fn send_first(fd: impl AsFd, first: &[u8]) -> io::Result<Option<Attempt>> {
    match socket::send(fd, first, false) {
        Ok(taken) => Ok(Some(Attempt::InSyn(taken))),
        // The cookie alone: an empty message always returns EINPROGRESS.
        Err(e) if in_progress(&e) && first.is_empty() => Ok(Some(Attempt::InSyn(0))),
        // The cookie was evicted since `connect`.
        Err(e) if in_progress(&e) => Ok(Some(Attempt::AfterHandshake)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}
