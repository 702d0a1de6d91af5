//! Descriptors of other processes.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libc::{c_int, c_long};

/// `pidfd_open(2)` and `pidfd_getfd(2)`: a duplicate of another process's descriptor. Needs the right to
/// trace that process: `CAP_SYS_PTRACE`, or one's own process where Yama allows it.
pub(crate) fn descriptor_of(pid: u32, descriptor: u32) -> io::Result<OwnedFd> {
    let pid = c_long::from(pid);
    // SAFETY: takes two integers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let descriptor = c_long::from(descriptor);
    let process = c_long::from(std::os::fd::AsRawFd::as_raw_fd(&process));
    // SAFETY: takes three integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, descriptor, 0) })
}

fn owned(returned: c_long) -> io::Result<OwnedFd> {
    let fd = c_int::try_from(returned).map_err(io::Error::other)?;
    super::check(fd)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
