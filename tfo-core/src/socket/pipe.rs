//! A way for bytes from socket to socket that does not lead through this process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, Result};
use crate::sys::pipe;

/// A pipe between two sockets: what one has received is sent by the other without a copy into this
/// process. Two descriptors; the bytes in it are the kernel's memory.
///
/// # References
/// [`splice(2)`](https://man7.org/linux/man-pages/man2/splice.2.html)
#[derive(Debug)]
#[doc(alias = "splice")]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    len: usize,
}

impl Pipe {
    /// `pipe2(2)`.
    ///
    /// # Errors
    /// No descriptors are left, or no memory for pipes (`fs.pipe-user-pages-hard`).
    pub fn new() -> Result<Self> {
        let (read, write) = pipe::pipe().map_err(|e| Error::system("pipe", "", e))?;
        Ok(Self { read, write, len: 0 })
    }

    /// How many bytes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes at most `most` bytes that `from` has received, without waiting. 0: its peer has closed.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): nothing is there, or the pipe is full, which only an
    /// empty one can't be. Else the connection broke.
    pub fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let moved = pipe::splice(from, &self.write, most)?;
        self.len += moved;
        Ok(moved)
    }

    /// Sends what is in it, as far as `to` takes it without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): `to` takes nothing now. Else the connection broke.
    pub fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let moved = pipe::splice(&self.read, to, self.len)?;
        self.len = self.len.saturating_sub(moved);
        Ok(moved)
    }
}
