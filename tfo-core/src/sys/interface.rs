//! Names of network interfaces.

#![allow(unsafe_code, reason = "system calls; each block has its proof")]

use std::ffi::{CStr, CString};
use std::io;

/// `if_indextoname(3)`: returns the name of the interface with this number in the calling thread's network
/// namespace.
pub(crate) fn name(index: u32) -> io::Result<String> {
    let mut buffer = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE bytes that the call may write.
    let found = unsafe { libc::if_indextoname(index, buffer.as_mut_ptr().cast()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    let name = CStr::from_bytes_until_nul(&buffer).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(name.to_string_lossy().into_owned())
}

/// `if_nametoindex(3)`: returns the number of the interface with this name in the calling thread's network namespace.
pub(crate) fn index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: `name` lives over the call and ends with a NUL.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_first_interface() {
        assert_eq!(name(1).expect("each namespace has it"), "lo");
        name(u32::MAX).expect_err("there is no such interface");
        assert_eq!(index("lo").expect("each namespace has it"), 1);
        index("no-such").expect_err("there is no such interface");
    }
}
