//! `getsockopt(2)` and `setsockopt(2)` for integers and bytes.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, socklen_t};

use super::check;

/// Sets an integer option.
pub(crate) fn set_int(fd: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_bytes(fd, level, name, &value.to_ne_bytes())
}

/// Reads an integer option.
pub(crate) fn int(fd: impl AsFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value = [0; size_of::<c_int>()];
    bytes(fd, level, name, &mut value)?;
    Ok(c_int::from_ne_bytes(value))
}

/// Sets an option whose value is bytes.
pub(crate) fn set_bytes(fd: impl AsFd, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let len = len(value)?;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `value` lives over the call and holds `len` bytes.
    check(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), len) }).map(drop)
}

/// Reads an option whose value is bytes; returns how many the kernel wrote.
pub(crate) fn bytes(
    fd: impl AsFd,
    level: c_int,
    name: c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut len = len(value)?;
    let fd = fd.as_fd().as_raw_fd();
    let pointer = value.as_mut_ptr().cast();
    // SAFETY: `value` has room for `len` bytes, and both live over the call.
    check(unsafe { libc::getsockopt(fd, level, name, pointer, &raw mut len) })?;
    Ok(usize::try_from(len).unwrap_or(0).min(value.len()))
}

fn len(value: &[u8]) -> io::Result<socklen_t> {
    socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput.into())
}
