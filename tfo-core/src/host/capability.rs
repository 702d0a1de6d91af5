//! The capabilities of this thread.

use std::fs;

/// A capability that a part of this library needs.
///
/// # References
/// - [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// `CAP_NET_BIND_SERVICE`: listen on ports below `net.ipv4.ip_unprivileged_port_start`.
    NetBindService = 10,
    /// `CAP_NET_ADMIN`: forget cached cookies.
    NetAdmin = 12,
    /// `CAP_NET_RAW`: see packets.
    NetRaw = 13,
    /// `CAP_SYS_ADMIN`: make network namespaces.
    SysAdmin = 21,
}

impl Capability {
    /// Returns whether the capability is among this thread's effective capabilities.
    #[must_use]
    pub fn is_effective(self) -> bool {
        fs::read_to_string("/proc/thread-self/status").is_ok_and(|status| self.is_in(&status))
    }

    fn is_in(self, status: &str) -> bool {
        status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .is_some_and(|capabilities| capabilities >> (self as u32) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status_of_the_thread() {
        let status = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000000400\n";
        assert!(Capability::NetBindService.is_in(status));
        assert!(!Capability::NetAdmin.is_in(status));
        assert!(!Capability::NetBindService.is_in("no such line"));
    }
}
