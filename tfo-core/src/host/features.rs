//! The features of this kernel, probed on a socket that is thrown away.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::sys::{socket, sockopt};

/// A socket option that fast open, or a server that offers it, needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Feature {
    /// A listener that accepts data in SYNs. Since Linux 3.7.
    #[cfg_attr(feature = "serde", serde(rename = "TCP_FASTOPEN"))]
    Listener,
    /// A client whose `connect` waits for the first bytes. Since Linux 4.11.
    #[cfg_attr(feature = "serde", serde(rename = "TCP_FASTOPEN_CONNECT"))]
    Connect,
    /// A listener with its own keys. Since Linux 4.15.
    #[cfg_attr(feature = "serde", serde(rename = "TCP_FASTOPEN_KEY"))]
    Key,
    /// A socket that uses no cookies. Since Linux 4.15.
    #[cfg_attr(feature = "serde", serde(rename = "TCP_FASTOPEN_NO_COOKIE"))]
    NoCookie,
    /// A listener that saves the headers of SYNs, which `tfo-server` needs to see what arrived. Since Linux 4.3.
    #[cfg_attr(feature = "serde", serde(rename = "TCP_SAVE_SYN"))]
    SaveSyn,
    /// A listener that drops new connections while existing ones are served, which `tfo-server` needs to stop.
    /// Since Linux 2.6.34.
    #[cfg_attr(feature = "serde", serde(rename = "IP_MINTTL"))]
    MinTtl,
}

impl Feature {
    /// All features.
    pub const ALL: &[Self] =
        &[Self::Listener, Self::Connect, Self::Key, Self::NoCookie, Self::SaveSyn, Self::MinTtl];

    /// Probes the feature. Sends nothing, and changes only the socket that it creates.
    #[must_use]
    pub fn probe(self) -> Support {
        let socket = socket::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true);
        judge(socket.and_then(|socket| try_on(&socket, self)))
    }

    /// Returns the kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "TCP_FASTOPEN",
            Self::Connect => "TCP_FASTOPEN_CONNECT",
            Self::Key => "TCP_FASTOPEN_KEY",
            Self::NoCookie => "TCP_FASTOPEN_NO_COOKIE",
            Self::SaveSyn => "TCP_SAVE_SYN",
            Self::MinTtl => "IP_MINTTL",
        }
    }
}

/// The result of probing a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Support {
    /// The kernel supports it.
    Yes,
    /// The kernel supports it, and `net.ipv4.tcp_fastopen` forbids it.
    SwitchedOff,
    /// The kernel does not support it.
    No,
    /// Probing failed for another reason, with this errno, such as a sandbox that filters system calls.
    Refused(i32),
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.pad("yes"),
            Self::SwitchedOff => f.pad("switched off"),
            Self::No => f.pad("no"),
            Self::Refused(errno) => write!(f, "refused (errno {errno})"),
        }
    }
}

/// Probes every [`Feature`]. Sends nothing, and changes only the sockets that it creates.
#[must_use]
pub fn probe() -> Vec<(Feature, Support)> {
    Feature::ALL.iter().map(|feature| (*feature, feature.probe())).collect()
}

fn try_on(socket: &OwnedFd, feature: Feature) -> io::Result<()> {
    let option = match feature {
        Feature::Listener => libc::TCP_FASTOPEN,
        Feature::Connect => libc::TCP_FASTOPEN_CONNECT,
        Feature::NoCookie => libc::TCP_FASTOPEN_NO_COOKIE,
        Feature::SaveSyn => libc::TCP_SAVE_SYN,
        Feature::MinTtl => return sockopt::set_int(socket, libc::IPPROTO_IP, libc::IP_MINTTL, 255),
        Feature::Key => {
            // Any key will do: the socket never listens.
            let key = [1; 16];
            return sockopt::set_bytes(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &key);
        }
    };
    // Setting `TCP_FASTOPEN` would make the kernel create a key for the whole namespace.
    if feature == Feature::Listener {
        return sockopt::int(socket, libc::IPPROTO_TCP, option).map(drop);
    }
    sockopt::set_int(socket, libc::IPPROTO_TCP, option, 1)
}

fn judge(tried: io::Result<()>) -> Support {
    match tried.map_err(|e| e.raw_os_error()) {
        Ok(()) => Support::Yes,
        Err(Some(libc::ENOPROTOOPT)) => Support::No,
        Err(Some(libc::EOPNOTSUPP)) => Support::SwitchedOff,
        Err(errno) => Support::Refused(errno.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_support_follows_from_the_kernels_answer() {
        let refused = |errno| judge(Err(io::Error::from_raw_os_error(errno)));
        assert_eq!(judge(Ok(())), Support::Yes);
        assert_eq!(refused(libc::ENOPROTOOPT), Support::No);
        assert_eq!(refused(libc::EOPNOTSUPP), Support::SwitchedOff);
        assert_eq!(refused(libc::EPERM), Support::Refused(libc::EPERM), "a seccomp filter");
    }

    #[test]
    fn every_feature_is_tried_once() {
        let names: Vec<_> = probe().iter().map(|(feature, _)| feature.name()).collect();
        let expected: Vec<_> = Feature::ALL.iter().map(|feature| feature.name()).collect();
        assert_eq!(names, expected);
    }
}
