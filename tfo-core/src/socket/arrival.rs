//! How an accepted connection arrived.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::{FastOpenStream, SynRecord, SynSummary, TcpBits, option};

/// An accepted connection, and how it arrived.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The connection.
    pub stream: FastOpenStream,
    /// How the connection arrived.
    pub arrival: Arrival,
}

/// The arrival of a connection. Read once, at `accept`, with two system calls (a third where its SYN was not saved) and no
/// allocation.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Arrival {
    /// The remote address.
    pub peer: SocketAddr,
    /// The connection's own address, where neither its SYN nor its listener tells.
    pub local: Option<SocketAddr>,
    /// What the kernel reported about the connection at `accept`. [`FastOpenStream::info`] returns more.
    pub tcp: TcpBits,
    /// The SYN of the connection.
    pub syn: SynRecord,
}

/// Returns the SYN of an accepted connection.
pub(super) fn saved_syn(fd: impl AsFd) -> SynRecord {
    match option::parse_saved_syn(fd, SynSummary::parse) {
        Ok(Some(syn)) => SynRecord::Saved(syn),
        Ok(None) => SynRecord::SynCookie,
        Err(e) => {
            log::debug!("a saved SYN could not be read: {e}");
            SynRecord::NotSaved
        }
    }
}
