//! `epoll(7)`: which of many sockets are ready.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, epoll_event};

use super::check;

/// `epoll_create1(2)`, closed on `exec`.
pub(crate) fn create() -> io::Result<OwnedFd> {
    // SAFETY: takes one integer.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `epoll_ctl(2)` with `EPOLL_CTL_ADD`.
pub(crate) fn add(epoll: impl AsFd, fd: impl AsFd, events: u32, data: u64) -> io::Result<()> {
    let mut event = epoll_event { events, u64: data };
    let (epoll, fd) = (epoll.as_fd().as_raw_fd(), fd.as_fd().as_raw_fd());
    // SAFETY: `event` lives over the call, which only reads it.
    check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
}

/// `epoll_pwait2(2)` (Linux 5.11): fills `events`, and returns how many. `None` waits for ever. On older kernels
/// `epoll_wait(2)`, which counts whole milliseconds: rounded up.
pub(crate) fn wait(
    epoll: impl AsFd,
    events: &mut [epoll_event],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let epoll = epoll.as_fd().as_raw_fd();
    let room = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // `struct __kernel_timespec`: two 64-bit integers on every machine, seconds and nanoseconds.
    let time = timeout.map(|time| {
        [i64::try_from(time.as_secs()).unwrap_or(i64::MAX), i64::from(time.subsec_nanos())]
    });
    let time = time.as_ref().map_or(std::ptr::null(), |time| &raw const *time);
    let mask: *const libc::sigset_t = std::ptr::null();
    let pointer = events.as_mut_ptr();
    // SAFETY: `events` has room for `room` events, `time` is null or lives over the call, and no
    // signal mask is given.
    let found =
        unsafe { libc::syscall(libc::SYS_epoll_pwait2, epoll, pointer, room, time, mask, 0_usize) };
    let found = match check(c_int::try_from(found).unwrap_or(c_int::MAX)) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            let millis = timeout.map_or(-1, |time| {
                c_int::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
            });
            // SAFETY: `events` has room for `room` events and lives over the call.
            check(unsafe { libc::epoll_wait(epoll, pointer, room, millis) })
        }
        other => other,
    }?;
    Ok(usize::try_from(found).unwrap_or(0).min(events.len()))
}
