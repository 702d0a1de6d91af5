//! The only `unsafe` of the workspace: system calls, each behind a safe function.
//!
//! Uses only `libc` and `std`, no type of this crate. Every function returns a plain [`io::Error`]; the callers add
//! the operation and its object.

#![allow(unsafe_code, reason = "the one place that calls the kernel")]

pub(crate) mod error_queue;
pub(crate) mod interface;
#[cfg(feature = "lab")]
pub(crate) mod namespace;
pub(crate) mod netlink;
#[cfg(feature = "capture")]
pub(crate) mod packet;
pub(crate) mod pipe;
pub(crate) mod process;
mod sockaddr;
pub(crate) mod socket;
pub(crate) mod sockopt;

use std::io;

/// Turns the -1 of a system call into its errno.
fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// [`check`] for calls that return a length.
fn check_len(returned: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}
