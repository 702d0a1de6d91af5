//! Conversions between [`SocketAddr`] and the kernel's `sockaddr`.

use std::io;
use std::mem::{self, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

/// A socket address in the kernel's form, with room for either family.
#[derive(Clone, Copy)]
pub(super) union SockAddr {
    v4: sockaddr_in,
    v6: sockaddr_in6,
    storage: sockaddr_storage,
}

impl SockAddr {
    /// Returns an empty value for an address that the kernel fills in.
    pub(super) fn empty() -> Self {
        // SAFETY: `sockaddr_storage` is plain integers; all zeros is a valid value of it.
        let storage = unsafe { mem::zeroed::<sockaddr_storage>() };
        Self { storage }
    }

    /// Converts an address to the kernel's form, with its length.
    pub(super) fn new(address: SocketAddr) -> (Self, socklen_t) {
        let mut this = Self::empty();
        match address {
            SocketAddr::V4(v4) => {
                this.v4 = sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (this, len_of::<sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                this.v6 = sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (this, len_of::<sockaddr_in6>())
            }
        }
    }

    pub(super) const fn capacity() -> socklen_t {
        len_of::<sockaddr_storage>()
    }

    pub(super) fn as_ptr(&self) -> *const sockaddr {
        (&raw const *self).cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut sockaddr {
        (&raw mut *self).cast()
    }

    /// Converts the address that the kernel wrote.
    pub(super) fn to_std(self) -> io::Result<SocketAddr> {
        // SAFETY: the union began as zeros, so that each of its fields is initialised; the family
        // is at the same place in all of them.
        let family = unsafe { self.storage.ss_family };
        match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: plain integers, initialised; the family says that this is the field.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: plain integers, initialised; the family says that this is the field.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both families are between 0 and 256"
)]
const fn family(family: libc::c_int) -> sa_family_t {
    family as sa_family_t
}

#[allow(clippy::cast_possible_truncation, reason = "socket addresses have at most 128 bytes")]
const fn len_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_survives_conversion_to_sockaddr_and_back() {
        for text in ["127.0.0.1:2222", "255.1.2.3:65535", "[::1]:1", "[fe80::1%7]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            let (raw, _) = SockAddr::new(address);
            assert_eq!(raw.to_std().unwrap(), address, "{text}");
        }
    }

    #[test]
    fn a_family_other_than_internet_is_refused() {
        assert_eq!(
            SockAddr::empty().to_std().unwrap_err().raw_os_error(),
            Some(libc::EAFNOSUPPORT)
        );
    }
}
