//! The cookies that this host has cached as a client, read by the generic netlink family `tcp_metrics`.
//!
//! The cache is keyed by source and destination address, without ports. Every user may read it; deleting needs
//! `CAP_NET_ADMIN` in the initial user namespace. It does not show whether a cookie came by the experimental
//! option. A hash chain has room for about five entries: more source addresses towards one destination evict each
//! other's cookies.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tfo_core::host::cookie_cache;
//!
//! if let Some(entry) = cookie_cache::get(None, "192.0.2.1".parse()?)? {
//!     println!("cookie: {:?}, lost SYNs: {}", entry.cookie, entry.syn_drops);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # References
//! - [`ip-tcp_metrics(8)`](https://man7.org/linux/man-pages/man8/ip-tcp_metrics.8.html)
//! - [`include/uapi/linux/tcp_metrics.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/tcp_metrics.h)

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::netlink::Netlink;
use crate::cookie::FastOpenCookie;
use crate::uapi::tcp_metrics as uapi;
use crate::wire::netlink::{Attributes, NLM_F_DUMP, Request};
use crate::{Error, Result};

// These have the types of the fields that hold them; in the `libc` crate they are `c_int`.
/// `GENL_ID_CTRL`: the family that resolves the numbers of the others.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_VERSION: u8 = 1;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// An entry of the cache: what the kernel remembers about the connections between two addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The peer's address.
    pub destination: IpAddr,
    /// This host's address. `None` on kernels before 3.14, where it was not part of the key.
    pub source: Option<IpAddr>,
    /// The time since the entry was last used.
    pub age: Option<Duration>,
    /// The cached cookie, if there is one.
    #[doc(alias = "fo_cookie")]
    pub cookie: Option<FastOpenCookie>,
    /// The MSS that came with the cookie, in bytes. It bounds the data that fits into the SYN.
    #[doc(alias = "fo_mss")]
    pub mss: Option<u16>,
    /// SYNs with data in a row that were lost; reset to 0 by one that was not.
    #[doc(alias = "fo_syn_drops")]
    pub syn_drops: u16,
    /// The time since the last of them; `None` if there is none.
    pub syn_drop_age: Option<Duration>,
    /// The smoothed round trip time, if known.
    pub rtt: Option<Duration>,
    /// The variation of the round trip time, if known.
    pub rttvar: Option<Duration>,
}

impl Entry {
    /// Parses the attributes of one entry. Unknown attributes are ignored.
    fn parse(attributes: Attributes<'_>) -> Result<Self> {
        let mut destination = None;
        let mut entry = Self {
            destination: IpAddr::from([0, 0, 0, 0]),
            source: None,
            age: None,
            cookie: None,
            mss: None,
            syn_drops: 0,
            syn_drop_age: None,
            rtt: None,
            rttvar: None,
        };
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::ATTR_ADDR_IPV4 => destination = Some(attribute.ipv4()?),
                uapi::ATTR_ADDR_IPV6 => destination = Some(attribute.ipv6()?),
                uapi::ATTR_SADDR_IPV4 => entry.source = Some(attribute.ipv4()?),
                uapi::ATTR_SADDR_IPV6 => entry.source = Some(attribute.ipv6()?),
                uapi::ATTR_AGE => entry.age = Some(Duration::from_millis(attribute.u64()?)),
                uapi::ATTR_FOPEN_MSS => entry.mss = Some(attribute.u16()?),
                uapi::ATTR_FOPEN_SYN_DROPS => entry.syn_drops = attribute.u16()?,
                uapi::ATTR_FOPEN_SYN_DROP_TS => {
                    entry.syn_drop_age = Some(Duration::from_millis(attribute.u64()?));
                }
                uapi::ATTR_FOPEN_COOKIE => {
                    entry.cookie = Some(FastOpenCookie::new(attribute.value)?);
                }
                uapi::ATTR_VALS => entry.parse_values(attribute.nested())?,
                _ => {}
            }
        }
        entry.destination = destination.ok_or_else(|| {
            Error::malformed("tcp_metrics entry", "it has no destination address")
        })?;
        Ok(entry)
    }

    /// Parses the nested values. The kernel stores these times as in a socket: shifted left by 3 and by 2.
    fn parse_values(&mut self, values: Attributes<'_>) -> Result<()> {
        for value in values {
            let value = value?;
            let micros = |shift: u32| {
                value.u32().map(|scaled| Some(Duration::from_micros((scaled >> shift).into())))
            };
            match value.kind {
                uapi::VAL_RTT_US => self.rtt = micros(3)?,
                uapi::VAL_RTTVAR_US => self.rttvar = micros(2)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// A netlink socket to the cookie cache of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct CookieCache {
    netlink: Netlink,
    family: u16,
}

impl CookieCache {
    /// Opens the cache of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if netlink can't be used, or with the kind `NotFound` on a kernel without
    /// the family `tcp_metrics`.
    pub fn open() -> Result<Self> {
        let mut netlink = Netlink::open(libc::NETLINK_GENERIC)?;
        let operation = "find generic netlink family";
        let mut family = None;
        let request = |sequence| {
            Request::generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_VERSION, 0, sequence)
                .text(CTRL_ATTR_FAMILY_NAME, uapi::GENL_NAME)
        };
        netlink.request(operation, uapi::GENL_NAME, request, |message| {
            for attribute in message.generic_attributes() {
                let attribute = attribute?;
                if attribute.kind == CTRL_ATTR_FAMILY_ID {
                    family = Some(attribute.u16()?);
                }
            }
            Ok(())
        })?;
        let not_found =
            || Error::system(operation, uapi::GENL_NAME, io::ErrorKind::NotFound.into());
        Ok(Self { netlink, family: family.ok_or_else(not_found)? })
    }

    /// Returns the entry of a pair of addresses, or `None`. Without a source, returns the first one found for the
    /// destination. IPv4 addresses mapped into IPv6 are taken as IPv4, as the kernel does.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel refuses, [`Error::Malformed`] if its answer can't be understood.
    #[doc(alias = "TCP_METRICS_CMD_GET")]
    pub fn get(&mut self, source: Option<IpAddr>, destination: IpAddr) -> Result<Option<Entry>> {
        let mut entry = None;
        let answer = self.netlink.request(
            "read cached cookie of",
            &pair(source, destination),
            request_for(self.family, uapi::CMD_GET, source, destination),
            |message| {
                entry = Some(Entry::parse(message.generic_attributes())?);
                Ok(())
            },
        );
        found(answer).map(|()| entry)
    }

    /// Returns all entries, including those without a cookie, in no particular order.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel refuses, [`Error::Malformed`] if its answer can't be understood.
    pub fn list(&mut self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let request = |sequence| {
            Request::generic(self.family, uapi::CMD_GET, uapi::GENL_VERSION, NLM_F_DUMP, sequence)
        };
        self.netlink.request("list", "cached cookies", request, |message| {
            entries.push(Entry::parse(message.generic_attributes())?);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Deletes the entry of a pair of addresses, with its cookie; without a source, all entries for this
    /// destination. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::System`], with the kind `PermissionDenied` without `CAP_NET_ADMIN` in the initial user namespace;
    /// root of another user namespace does not have it.
    #[doc(alias = "TCP_METRICS_CMD_DEL")]
    pub fn delete(&mut self, source: Option<IpAddr>, destination: IpAddr) -> Result<bool> {
        let answer = self.netlink.request(
            "delete cached cookie of",
            &pair(source, destination),
            request_for(self.family, uapi::CMD_DEL, source, destination),
            |_| Ok(()),
        );
        found(answer.map(|()| true))
    }
}

/// Returns the entry of a pair of addresses: [`CookieCache::get`] in the calling thread's network namespace.
///
/// # Errors
/// Those of [`CookieCache::open`] and [`CookieCache::get`].
pub fn get(source: Option<IpAddr>, destination: IpAddr) -> Result<Option<Entry>> {
    CookieCache::open()?.get(source, destination)
}

/// Returns all entries: [`CookieCache::list`] in the calling thread's network namespace.
///
/// # Errors
/// Those of [`CookieCache::open`] and [`CookieCache::list`].
pub fn list() -> Result<Vec<Entry>> {
    CookieCache::open()?.list()
}

/// Deletes entries: [`CookieCache::delete`] in the calling thread's network namespace.
///
/// # Errors
/// Those of [`CookieCache::open`] and [`CookieCache::delete`].
pub fn delete(source: Option<IpAddr>, destination: IpAddr) -> Result<bool> {
    CookieCache::open()?.delete(source, destination)
}

fn request_for(
    family: u16,
    command: u8,
    source: Option<IpAddr>,
    destination: IpAddr,
) -> impl FnOnce(u32) -> Request {
    move |sequence| {
        let request = Request::generic(family, command, uapi::GENL_VERSION, 0, sequence).address(
            uapi::ATTR_ADDR_IPV4,
            uapi::ATTR_ADDR_IPV6,
            destination.to_canonical(),
        );
        match source {
            Some(source) => {
                request.address(uapi::ATTR_SADDR_IPV4, uapi::ATTR_SADDR_IPV6, source.to_canonical())
            }
            None => request,
        }
    }
}

fn pair(source: Option<IpAddr>, destination: IpAddr) -> String {
    match source {
        Some(source) => format!("{destination} from {source}"),
        None => destination.to_string(),
    }
}

/// Maps "no such entry" to the default value.
fn found<T: Default>(answer: Result<T>) -> Result<T> {
    match answer {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(T::default()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attributes() -> Vec<u8> {
        let dump: &[&[u8]] = &[
            &[8, 0, 1, 0, 10, 9, 0, 1, 8, 0, 11, 0, 10, 9, 0, 1],
            &[12, 0, 3, 0, 0x40, 1, 0, 0, 0, 0, 0, 0],
            &[44, 0, 6, 0, 8, 0, 6, 0, 0x8e, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0],
            &[8, 0, 7, 0, 0x2c, 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 0, 8, 0, 4, 0, 12, 0, 0, 0],
            &[6, 0, 7, 0, 0xd7, 0xff, 0, 0],
            &[12, 0, 10, 0, 0xea, 0x30, 0xe6, 0xb2, 0x6e, 0x4a, 0x39, 0xab],
        ];
        dump.concat()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn an_entry_of_linux_is_read() {
        let entry = Entry::parse(Attributes::new(&attributes())).expect("captured from Linux 6.18");
        assert_eq!(entry.destination, IpAddr::from([10, 9, 0, 1]));
        assert_eq!(entry.source, Some(IpAddr::from([10, 9, 0, 1])));
        assert_eq!(entry.age, Some(Duration::from_millis(320)));
        assert_eq!(entry.cookie, Some("ea30e6b26e4a39ab".parse().unwrap()));
        assert_eq!((entry.mss, entry.syn_drops, entry.syn_drop_age), (Some(65_495), 0, None));
        let micros = [entry.rtt, entry.rttvar].map(|t| t.map(|t| t.as_micros()));
        assert_eq!(micros, [Some(17), Some(11)], "as `ip tcp_metrics` printed them");
    }

    #[test]
    fn lost_syns_are_read() {
        let bytes = Request::new(0, 0, 0)
            .address(1, 2, IpAddr::from([0; 16]))
            .attribute(uapi::ATTR_FOPEN_SYN_DROPS, &3_u16.to_ne_bytes())
            .attribute(uapi::ATTR_FOPEN_SYN_DROP_TS, &1500_u64.to_ne_bytes())
            .finish()
            .expect("short");
        let entry = Entry::parse(Attributes::new(&bytes[16..])).expect("well-formed");
        assert_eq!(entry.destination, IpAddr::from([0; 16]));
        assert_eq!((entry.syn_drops, entry.cookie), (3, None));
        assert_eq!(entry.syn_drop_age, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn an_entry_needs_a_destination_and_right_lengths() {
        for bytes in [&[][..], &[8, 0, 11, 0, 10, 9, 0, 1], &[6, 0, 1, 0, 10, 9], &[20, 0, 1, 0]] {
            assert!(
                matches!(Entry::parse(Attributes::new(bytes)), Err(Error::Malformed { .. })),
                "{bytes:?}"
            );
        }
        let long = Request::new(0, 0, 0).attribute(uapi::ATTR_FOPEN_COOKIE, &[0; 17]);
        let long = long.finish().expect("short");
        Entry::parse(Attributes::new(&long[16..])).expect_err("a cookie has at most 16 bytes");
    }

    #[test]
    fn a_pair_without_an_entry_is_none() {
        let mut cache = CookieCache::open().expect("Linux has had the family since 3.6");
        // Documentation addresses, to which nothing connects.
        let (source, destination) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 7]));
        assert_eq!(cache.get(None, destination).expect("anybody may read"), None);
        assert_eq!(cache.get(Some(source), destination).expect("anybody may read"), None);
        let mapped = IpAddr::V6(std::net::Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped());
        assert_eq!(cache.get(Some(source), mapped).expect("taken as IPv4"), None);
        cache.list().expect("anybody may list");
    }

    #[test]
    fn refusal_names_the_pair_and_unknown_pair_is_none() {
        let (source, destination) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 7]));
        let refused = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            Err(Error::system("delete cached cookie of", pair(Some(source), destination), error))
        };
        let error = found::<bool>(refused(libc::EPERM)).expect_err("not allowed");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let text = "delete cached cookie of 198.51.100.7 from 192.0.2.1 failed: ";
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(!found::<bool>(refused(libc::ESRCH)).expect("nothing to delete is no error"));
    }

    proptest! {
        #[test]
        fn any_attributes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0..140_usize, value: u8, keep in 0..140_usize,
        ) {
            let _ = Entry::parse(Attributes::new(&bytes));
            let mut bytes = attributes();
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            bytes.truncate(keep);
            let _ = Entry::parse(Attributes::new(&bytes));
        }
    }
}
