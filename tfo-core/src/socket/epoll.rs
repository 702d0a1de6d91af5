//! Which of many sockets are ready: `epoll(7)`, with waits that are not rounded to milliseconds.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::sys::epoll;
use crate::{Error, Result};

/// Watches sockets, edge by edge: it tells when something **new** has happened to one, so a loop reads until
/// there is nothing more. A socket that is closed is watched no more, without a call.
///
/// Lean on purpose, for an event loop that opens a connection for each message: general loops are better
/// served by a crate such as `mio`, which counts its waits in milliseconds.
///
/// ```no_run
/// # use std::io::Read;
/// # use tfo_core::socket::{Connector, Epoll, Events, Interest};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = "192.0.2.1:2222".parse()?;
/// let mut stream = Connector::default().connect_nonblocking(server, b"hello\n")?;
/// let epoll = Epoll::new()?;
/// epoll.add(&stream, 7, Interest::Both)?;
/// let mut events = Events::with_capacity(64);
/// epoll.wait(&mut events, None)?;
/// if events.iter().any(|event| event.token() == 7 && event.is_readable()) {
///     println!("{} bytes came", stream.read(&mut [0; 1024])?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// What of a socket is watched. That it failed is always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// That something came, or that the peer has closed.
    Readable,
    /// That too, and that the handshake has ended, or that there is room for more to send.
    Both,
}

impl Epoll {
    /// `epoll_create1`.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn new() -> Result<Self> {
        epoll::create().map(Self).map_err(|e| Error::system("epoll_create1", "", e))
    }

    /// Watches a socket from now on. `token` comes back with its events.
    ///
    /// # Errors
    /// It is watched already, or the user watches too many (`fs.epoll.max_user_watches`).
    pub fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        let events = match interest {
            Interest::Readable => libc::EPOLLIN,
            Interest::Both => libc::EPOLLIN | libc::EPOLLOUT,
        } | libc::EPOLLRDHUP
            | libc::EPOLLET;
        epoll::add(&self.0, socket, events.cast_unsigned(), token)
            .map_err(|e| Error::system("epoll_ctl", "EPOLL_CTL_ADD", e))
    }

    /// Waits until something has happened, or the time is over; `None` waits for ever. A signal ends the wait too,
    /// without an event.
    ///
    /// # Errors
    /// None that a correct program meets.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<()> {
        events.filled = match epoll::wait(&self.0, &mut events.room, timeout) {
            Ok(filled) => filled,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(Error::system("epoll_pwait2", "", e)),
        };
        Ok(())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Room for what has happened, used again and again.
pub struct Events {
    room: Vec<libc::epoll_event>,
    filled: usize,
}

impl Events {
    /// Room for that many at once, at least one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let empty = libc::epoll_event { events: 0, u64: 0 };
        Self { room: vec![empty; capacity.max(1)], filled: 0 }
    }

    /// What has happened, of each socket at most one.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        let filled = self.room.iter().take(self.filled);
        filled.map(|raw| Event { token: raw.u64, bits: raw.events.cast_signed() })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What has happened to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    token: u64,
    bits: i32,
}

impl Event {
    /// The socket's token.
    #[must_use]
    pub const fn token(self) -> u64 {
        self.token
    }

    /// Something came, the peer has closed, or the connection has failed.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.bits & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLERR) != 0
    }

    /// It is established, and takes something to send.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.bits & libc::EPOLLOUT != 0
    }

    /// The peer has closed: nothing comes behind what is there to be read.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        self.bits & libc::EPOLLRDHUP != 0
    }

    /// The connection has failed: the next read or write says why.
    #[must_use]
    pub const fn is_failed(self) -> bool {
        self.bits & libc::EPOLLERR != 0
    }
}
