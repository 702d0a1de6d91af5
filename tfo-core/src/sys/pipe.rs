//! Pipes, which move bytes without copying them into this process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{check, check_len};

/// `pipe2(2)`: returns the ends for reading and for writing, both non-blocking and closed on `exec`.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: `ends` has room for the two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
    let [read, write] = ends;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    let read = unsafe { OwnedFd::from_raw_fd(read) };
    // SAFETY: as above.
    let write = unsafe { OwnedFd::from_raw_fd(write) };
    Ok((read, write))
}

/// `splice(2)` between a pipe and a socket, without waiting. 0: `from` has ended.
pub(crate) fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    // SAFETY: takes integers, and null for the offsets that pipes and sockets do not have.
    check_len(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), most, flags) })
}
