//! Names of network interfaces.

#![allow(unsafe_code, reason = "system calls; each block has its proof")]

use std::ffi::CStr;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_first_interface() {
        assert_eq!(name(1).expect("each namespace has it"), "lo");
        name(u32::MAX).expect_err("there is no such interface");
    }
}
