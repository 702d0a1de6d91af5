//! Names of the errors that a connection can end with.

use std::fmt;

/// An errno, by its name where it is one of connecting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errno(pub(super) i32);

/// What sort of failure an errno stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A reset came.
    Refused,
    /// An ICMP error came, or there is no route.
    Unreachable,
    /// This host did not let the connection out.
    Local,
    /// The kernel gave up waiting.
    TimedOut,
    Other,
}

macro_rules! errnos {
    ($( $name:ident: $sort:ident, )*) => {
        impl Errno {
            fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( libc::$name => Some(stringify!($name)), )*
                    _ => None,
                }
            }

            pub(super) fn sort(self) -> Sort {
                match self.0 {
                    $( libc::$name => Sort::$sort, )*
                    _ => Sort::Other,
                }
            }
        }
    };
}

errnos! {
    ECONNREFUSED: Refused,
    ECONNRESET: Refused,
    ECONNABORTED: Refused,
    EPIPE: Refused,
    // What ICMP codes become; EACCES is ICMPv6's "prohibited", or a route of type prohibit.
    EHOSTUNREACH: Unreachable,
    ENETUNREACH: Unreachable,
    EHOSTDOWN: Unreachable,
    ENONET: Unreachable,
    EPROTO: Unreachable,
    ENOPROTOOPT: Unreachable,
    EACCES: Unreachable,
    EPERM: Local,
    ENETDOWN: Local,
    EADDRNOTAVAIL: Local,
    EADDRINUSE: Local,
    EAFNOSUPPORT: Local,
    EMFILE: Local,
    ENOBUFS: Local,
    ETIMEDOUT: TimedOut,
    EINVAL: Other,
    EOPNOTSUPP: Other,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}
