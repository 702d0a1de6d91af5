//! `TCP_SAVED_SYN`: the headers of the SYN as it arrived.

use std::net::SocketAddr;

use crate::wire::{FastOpenOption, IpHeader, PROTOCOL_TCP, TcpHeader, TcpOptions};
use crate::{Error, Result};

/// The IP and TCP headers of the SYN that made a connection, as they arrived.
///
/// The bytes are stored inline: reading one for each accepted connection costs no allocation.
///
/// # References
/// - [`TCP_SAVED_SYN`](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/tcp.h)
/// - [commit cd8ae85299d5](https://github.com/torvalds/linux/commit/cd8ae85299d5), Linux 4.2
#[doc(alias = "TCP_SAVED_SYN")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSyn {
    bytes: [u8; Self::MAX_LENGTH],
    length: usize,
    options_start: usize,
    source: SocketAddr,
    destination: SocketAddr,
    ttl: u8,
    ip_ecn: u8,
    payload_len: usize,
}

impl SavedSyn {
    /// The maximum number of bytes: enough for IPv6 with extension headers and 60 bytes of TCP.
    pub const MAX_LENGTH: usize = 256;

    /// Parses what `getsockopt(TCP_SAVED_SYN)` returned. The listener must have set `TCP_SAVE_SYN` to 1: with 2 the
    /// link-layer header would come first.
    ///
    /// Empty input is an error too. The kernel returns nothing if it answered with a SYN cookie or saved nothing:
    /// check for that first.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the input is longer than [`MAX_LENGTH`](Self::MAX_LENGTH) or does not contain
    /// complete IP and TCP headers. Malformed TCP options are not an error here.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut held = [0; Self::MAX_LENGTH];
        held.get_mut(..bytes.len())
            .ok_or_else(|| {
                malformed(format!("{} bytes, more than {}", bytes.len(), Self::MAX_LENGTH))
            })?
            .copy_from_slice(bytes);
        let (ip, tcp) = headers(bytes)?;
        let length = ip.header_length() + tcp.header_length();
        Ok(Self {
            bytes: held,
            length,
            options_start: length - tcp.option_bytes().len(),
            source: SocketAddr::new(ip.source(), tcp.source_port()),
            destination: SocketAddr::new(ip.destination(), tcp.destination_port()),
            ttl: ip.ttl(),
            ip_ecn: ip.ecn(),
            payload_len: ip.total_length().saturating_sub(length),
        })
    }

    /// Returns the bytes of the headers.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Returns the client's address, as it arrived.
    #[must_use]
    pub const fn source(&self) -> SocketAddr {
        self.source
    }

    /// Returns the address that the SYN was sent to.
    #[must_use]
    pub const fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// Returns the IPv4 TTL or IPv6 hop limit.
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Returns the number of bytes of data in the SYN: the IP total length minus the headers; the data itself is
    /// not saved.
    #[must_use]
    pub(crate) const fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// Returns the two ECN bits of the IP header.
    #[must_use]
    pub const fn ip_ecn(&self) -> u8 {
        self.ip_ecn
    }

    /// Returns the TCP options in their order.
    #[must_use]
    pub(crate) fn options(&self) -> TcpOptions<'_> {
        TcpOptions::new(self.bytes.get(self.options_start..self.length).unwrap_or_default())
    }

    /// Returns the fast open option, if a valid one arrived.
    #[must_use]
    pub fn fast_open(&self) -> Option<FastOpenOption> {
        self.options().fast_open()
    }

    /// Returns how many NOPs are at the end of the options, or right before an end-of-list option.
    ///
    /// Linux pads its SYNs with up to three; more indicate that an option was overwritten on the path. 0 if the
    /// options end in something malformed.
    #[must_use]
    pub fn trailing_nops(&self) -> usize {
        self.options().trailing_nops()
    }
}

/// Returns the headers of a saved SYN.
pub(super) fn headers(bytes: &[u8]) -> Result<(IpHeader<'_>, TcpHeader<'_>)> {
    let ip = IpHeader::parse(bytes)?;
    if ip.protocol() != PROTOCOL_TCP || ip.fragment_offset() != 0 {
        return Err(malformed(format!("protocol {} is not TCP", ip.protocol())));
    }
    let tcp = TcpHeader::parse(ip.payload())?;
    Ok((ip, tcp))
}

fn malformed(reason: String) -> Error {
    Error::malformed("TCP_SAVED_SYN", reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::FastOpenKind;

    /// Linux 6.18, IPv4 over loopback: a cookie and 19 bytes of data.
    const IPV4_COOKIE: &[u8] = &[
        0x45, 0x00, 0x00, 0x5b, 0x6b, 0xc5, 0x40, 0x00, 0x40, 0x06, 0xd0, 0xd5, 0x7f, 0x00, 0x00,
        0x01, 0x7f, 0x00, 0x00, 0x01, 0x8c, 0xf2, 0x08, 0xae, 0x40, 0xae, 0x9e, 0xf3, 0x00, 0x00,
        0x00, 0x00, 0xd0, 0x02, 0xff, 0xd7, 0xfe, 0x4f, 0x00, 0x00, 0x02, 0x04, 0xff, 0xd7, 0x04,
        0x02, 0x08, 0x0a, 0xf3, 0x52, 0xb4, 0x3d, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x03, 0x0a,
        0x22, 0x0a, 0x49, 0xe6, 0xbf, 0xa1, 0x7d, 0x02, 0x3b, 0x07, 0x01, 0x01,
    ];

    /// Linux 6.18, IPv6 over loopback: a cookie request without data.
    const IPV6_REQUEST: &[u8] = &[
        0x60, 0x0e, 0x48, 0xc2, 0x00, 0x2c, 0x06, 0x40, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0xdd, 0x7c, 0x08, 0xae, 0xc5,
        0x39, 0x89, 0xac, 0x00, 0x00, 0x00, 0x00, 0xb0, 0x02, 0xff, 0xc4, 0xfa, 0x45, 0x00, 0x00,
        0x02, 0x04, 0xff, 0xc4, 0x04, 0x02, 0x08, 0x0a, 0x1e, 0xb2, 0xb3, 0xef, 0x00, 0x00, 0x00,
        0x00, 0x01, 0x03, 0x03, 0x0a, 0x22, 0x02, 0x01, 0x01,
    ];

    #[test]
    fn a_syn_with_a_cookie_and_data_is_read() {
        let syn = SavedSyn::parse(IPV4_COOKIE).expect("captured from Linux");
        assert_eq!(syn.source(), "127.0.0.1:36082".parse().unwrap());
        assert_eq!(syn.destination(), "127.0.0.1:2222".parse().unwrap());
        assert_eq!((syn.ttl(), syn.ip_ecn()), (64, 0));
        assert_eq!(syn.payload_len(), 19, "IP's length says so, the data is not saved");
        let option = syn.fast_open().expect("kind 34");
        assert_eq!(option.kind, FastOpenKind::Standard);
        assert_eq!(option.cookie.as_bytes(), [0x49, 0xe6, 0xbf, 0xa1, 0x7d, 0x02, 0x3b, 0x07]);
        assert_eq!(syn.trailing_nops(), 2, "Linux pads to four bytes");
        assert_eq!(syn.as_bytes(), IPV4_COOKIE);
    }

    #[test]
    fn an_ipv6_cookie_request_is_read() {
        let syn = SavedSyn::parse(IPV6_REQUEST).expect("captured from Linux");
        assert_eq!(syn.source(), "[fd00::9]:56700".parse().unwrap());
        assert_eq!(syn.payload_len(), 0);
        assert!(syn.fast_open().expect("kind 34").is_request());
        let kinds: Vec<_> = syn.options().map_while(Result::ok).map(|o| o.kind()).collect();
        assert_eq!(kinds, [2, 4, 8, 1, 3, 34, 1, 1]);
    }

    #[test]
    fn an_overwritten_option_leaves_nops_and_data() {
        let mut bytes = IPV4_COOKIE.to_vec();
        bytes[60..70].fill(1);
        let syn = SavedSyn::parse(&bytes).expect("still valid");
        assert_eq!((syn.fast_open(), syn.trailing_nops(), syn.payload_len()), (None, 12, 19));
    }

    #[test]
    fn malformed_saved_syn_is_an_error() {
        let mut udp = IPV4_COOKIE.to_vec();
        udp[9] = 17;
        let mut with_ethernet = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0];
        with_ethernet.extend(IPV4_COOKIE);
        let long = [IPV4_COOKIE, &[0; 256][..]].concat();
        for bytes in [&[][..], &IPV4_COOKIE[..71], &udp, &with_ethernet, &long] {
            let error = SavedSyn::parse(bytes).expect_err("not a SYN");
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
        }
    }

    fn check(bytes: &[u8]) {
        if let Ok(syn) = SavedSyn::parse(bytes) {
            assert_eq!(syn.as_bytes(), &bytes[..syn.as_bytes().len()]);
            assert!(syn.options().count() <= 40, "a header has no more");
            assert!(syn.trailing_nops() <= 40);
            assert!(syn.payload_len() <= 40 + 0xffff);
            let _ = syn.fast_open();
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            check(&bytes);
        }

        #[test]
        fn a_damaged_syn_is_read_within_bounds(
            six: bool,
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
            keep: proptest::sample::Index,
        ) {
            let mut bytes = if six { IPV6_REQUEST } else { IPV4_COOKIE }.to_vec();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            check(&bytes);
            check(&bytes[..keep.index(bytes.len())]);
        }
    }
}
