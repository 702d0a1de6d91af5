//! The user of this process, file descriptors of other processes, and the CPU time of a thread.

use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_long};

/// `geteuid(2)` and `getegid(2)`.
#[cfg(any(feature = "cli", feature = "lab"))]
pub(crate) fn effective_ids() -> (u32, u32) {
    // SAFETY: takes nothing and never fails.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: takes nothing and never fails.
    let gid = unsafe { libc::getegid() };
    (uid, gid)
}

/// `pidfd_open(2)` and `pidfd_getfd(2)`: duplicates a file descriptor of another process. Needs the right to trace
/// that process: `CAP_SYS_PTRACE`, or the same user where Yama allows it.
pub(crate) fn descriptor_of(pid: u32, descriptor: u32) -> io::Result<OwnedFd> {
    let pid = number(pid)?;
    // SAFETY: takes two integers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let descriptor = number(descriptor)?;
    let process = c_long::from(std::os::fd::AsRawFd::as_raw_fd(&process));
    // SAFETY: takes three integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, descriptor, 0) })
}

/// Converts an identifier, which the kernel keeps in an `int`, to an argument of `syscall(2)`.
fn number(number: u32) -> io::Result<c_long> {
    Ok(c_long::from(c_int::try_from(number).map_err(io::Error::other)?))
}

/// `getrusage(2)` with `RUSAGE_THREAD`: returns the CPU time of the calling thread in user space and in the kernel.
pub(crate) fn thread_times() -> io::Result<(Duration, Duration)> {
    // SAFETY: `rusage` is plain integers; all zeros is a valid value of it.
    let mut usage = unsafe { mem::zeroed::<libc::rusage>() };
    // SAFETY: `usage` has room for what the call writes, and lives over it.
    super::check(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) })?;
    Ok((duration(usage.ru_utime), duration(usage.ru_stime)))
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

fn owned(returned: c_long) -> io::Result<OwnedFd> {
    let fd = c_int::try_from(returned).map_err(io::Error::other)?;
    super::check(fd)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
