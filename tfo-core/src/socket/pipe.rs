//! Moves bytes from socket to socket without copying them into this process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, Result};
use crate::sys::pipe;

/// A pipe between two sockets: one sends what the other has received, without a copy into this process. It takes
/// two file descriptors; its bytes are in kernel memory.
///
/// ```no_run
/// use tfo_core::socket::{FastOpenStream, Pipe};
///
/// # fn forward(from: &FastOpenStream, to: &FastOpenStream) -> Result<(), Box<dyn std::error::Error>> {
/// let mut pipe = Pipe::new()?;
/// // Once `from` is readable and `to` is writable:
/// pipe.fill(from, 64 * 1024)?;
/// pipe.drain(to)?;
/// # Ok(())
/// # }
/// ```
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
    /// Creates an empty pipe: `pipe2(2)`.
    ///
    /// # Errors
    /// No file descriptors are left, or no memory for pipes (`fs.pipe-user-pages-hard`).
    pub fn new() -> Result<Self> {
        let (read, write) = pipe::pipe().map_err(|e| Error::system("pipe", "", e))?;
        Ok(Self { read, write, len: 0 })
    }

    /// Returns how many bytes the pipe contains.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the pipe is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves at most `most` bytes that `from` has received into the pipe, without waiting. 0: the peer of `from`
    /// has closed.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): nothing was received, or the pipe is full, which an empty one
    /// never is. Any other error: the connection broke.
    pub fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let moved = pipe::splice(from, &self.write, most)?;
        self.len += moved;
        Ok(moved)
    }

    /// Sends what the pipe contains, as far as `to` accepts it without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): `to` accepts nothing now. Any other error: the connection broke.
    pub fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let moved = pipe::splice(&self.read, to, self.len)?;
        self.len = self.len.saturating_sub(moved);
        Ok(moved)
    }
}
