//! Identifies which key generated a cookie, and for which client address.

use std::fmt;
use std::net::IpAddr;

use super::{FastOpenCookie, FastOpenKey, KeyRing};

/// The origin of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Origin {
    /// The primary key made it for this client. If the cookie was refused, the cookie is not the reason.
    Primary,
    /// The backup key made it for this client. The kernel accepts it as well.
    Backup,
    /// The next key made it for this client: the clock of the server that granted it is ahead, or this server's is
    /// behind.
    Next,
    /// An earlier key made it for this client; 1 is the one that was accepted last. The client was away for too
    /// long, or got the cookie from a server that missed a rotation.
    Previous(usize),
    /// A key of the ring made it, for this address: the client's address has changed, or is translated to several
    /// addresses.
    OtherSource(IpAddr),
    /// None of the keys made it for any of the addresses: it was granted by a server with other keys, changed on
    /// the path, or forged.
    Unknown,
}

impl Origin {
    /// Returns whether the kernel accepts such a cookie.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Primary | Self::Backup)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("of the primary key"),
            Self::Backup => f.write_str("of the backup key"),
            Self::Next => f.write_str("of the next key"),
            Self::Previous(1) => f.write_str("of the key before"),
            Self::Previous(back) => write!(f, "of an earlier key, {back} back"),
            Self::OtherSource(address) => write!(f, "made for {address}"),
            Self::Unknown => f.write_str("of no known key"),
        }
    }
}

/// Finds the key of `ring` that made `cookie`, which came from `source` to `destination`. Also tries the addresses
/// in `candidates`, such as those of other clients, which a translator may have given to this client before.
///
/// A cookie has 64 bits, so that a match is not a coincidence. Each key costs one `SipHash`, and each candidate one
/// for each key; without a match all of them are computed.
///
/// ```
/// use std::iter;
/// use tfo_core::cookie::forensics::{Origin, origin};
/// use tfo_core::cookie::{FastOpenKey, KeyRing};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (client, server) = ("192.0.2.1".parse()?, "192.0.2.2".parse()?);
/// let [old, new] = [1, 2].map(|byte| FastOpenKey::new([byte; FastOpenKey::LENGTH]));
/// let ring = KeyRing::new(new, Some(old.clone()));
/// let cookie = old.cookie(client, server);
/// assert_eq!(origin(&cookie, client, server, &ring, iter::empty()), Origin::Backup);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn origin(
    cookie: &FastOpenCookie,
    source: IpAddr,
    destination: IpAddr,
    ring: &KeyRing,
    candidates: impl IntoIterator<Item = IpAddr>,
) -> Origin {
    let made_by = |key: &FastOpenKey, source| key.cookie(source, destination) == *cookie;
    if made_by(ring.primary(), source) {
        return Origin::Primary;
    }
    if ring.backup().is_some_and(|key| made_by(key, source)) {
        return Origin::Backup;
    }
    if ring.next().is_some_and(|key| made_by(key, source)) {
        return Origin::Next;
    }
    if let Some(index) = ring.previous().iter().position(|key| made_by(key, source)) {
        return Origin::Previous(index + 1);
    }
    let is_v4 = source.to_canonical().is_ipv4();
    for other in candidates.into_iter().map(|address| address.to_canonical()) {
        // A cookie for the other family is made of other bytes, and for another destination.
        let fits = other.is_ipv4() == is_v4;
        let mut keys = [ring.primary()].into_iter().chain(ring.backup()).chain(ring.previous());
        if fits && keys.any(|key| made_by(key, other)) {
            return Origin::OtherSource(other);
        }
    }
    Origin::Unknown
}

/// Returns the 256 addresses around an IPv4 address: the pool of a translator is often one such network. Returns
/// none for IPv6, where a client's network has too many.
pub fn neighbours(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let network = match address.to_canonical() {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    };
    network
        .into_iter()
        .flat_map(|[a, b, c, _]| (0..=u8::MAX).map(move |d| IpAddr::from([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> FastOpenKey {
        FastOpenKey::new([number; 16])
    }

    fn ring() -> KeyRing {
        KeyRing::new(key(1), Some(key(2))).with_next(Some(key(9))).with_previous([key(3), key(4)])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_key_of_the_ring_is_identified() {
        for (source, destination) in [
            ("192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::2"),
            ("::ffff:10.0.0.1", "10.0.0.2"),
        ] {
            let (source, destination) = (ip(source), ip(destination));
            for (number, expected) in [
                (1, Origin::Primary),
                (2, Origin::Backup),
                (3, Origin::Previous(1)),
                (4, Origin::Previous(2)),
                (9, Origin::Next),
                (7, Origin::Unknown),
            ] {
                let cookie = key(number).cookie(source, destination);
                let found = origin(&cookie, source, destination, &ring(), neighbours(source));
                assert_eq!(found, expected, "key {number}, {source}");
            }
        }
    }

    #[test]
    fn cookie_for_another_address_reports_that_address() {
        let (server, client) = (ip("198.51.100.1"), ip("192.0.2.77"));
        for number in [1, 2, 3, 4] {
            let cookie = key(number).cookie(ip("192.0.2.9"), server);
            let found = origin(&cookie, client, server, &ring(), neighbours(client));
            assert_eq!(found, Origin::OtherSource(ip("192.0.2.9")), "in the same network");
        }
        let cookie = key(1).cookie(ip("203.0.113.5"), server);
        let given = [ip("2001:db8::1"), ip("203.0.113.4"), ip("203.0.113.5")];
        assert_eq!(origin(&cookie, client, server, &ring(), []), Origin::Unknown);
        let found = origin(&cookie, client, server, &ring(), given);
        assert_eq!(found, Origin::OtherSource(given[2]));
    }

    #[test]
    fn ipv6_has_no_neighbours_to_try() {
        assert_eq!(neighbours(ip("2001:db8::1")).count(), 0);
        assert_eq!(neighbours(ip("192.0.2.1")).count(), 256);
    }

    proptest! {
        #[test]
        fn damaged_cookie_has_no_key(source: [u8; 4], server: [u8; 4], bit in 0..64_usize) {
            let (source, server) = (IpAddr::from(source), IpAddr::from(server));
            let mut bytes = key(1).cookie(source, server).as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let cookie = FastOpenCookie::new(&bytes).expect("8 bytes");
            let found = origin(&cookie, source, server, &ring(), neighbours(source));
            prop_assert_eq!(found, Origin::Unknown);
        }

        #[test]
        fn cookie_of_any_length_is_accepted(bytes in proptest::collection::vec(any::<u8>(), 0..=16)) {
            let cookie = FastOpenCookie::new(&bytes).expect("short enough");
            let address = ip("192.0.2.1");
            prop_assert_eq!(origin(&cookie, address, address, &ring(), []), Origin::Unknown);
        }
    }
}
