//! Computes the cookie that Linux makes with a key.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use super::{FastOpenCookie, FastOpenKey};

impl FastOpenKey {
    /// Returns the cookie that a Linux server with this key gives to `source` for its address `destination`:
    /// SipHash-2-4 of the two addresses, lowest byte first.
    ///
    /// Both are the addresses that the **server** sees: behind a translator they differ from what the client sees.
    /// IPv4 addresses mapped into IPv6 are taken as IPv4, as the kernel does. Ports do not matter.
    ///
    /// # References
    /// - [`__tcp_fastopen_cookie_gen_cipher`](https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_fastopen.c)
    #[must_use]
    pub fn cookie(&self, source: IpAddr, destination: IpAddr) -> FastOpenCookie {
        let mut addresses = [0; 32];
        let length = put(source, &mut addresses, 0);
        let length = put(destination, &mut addresses, length);
        let hash = SipHasher24::new_with_key(self.as_bytes()).hash(&addresses[..length]);
        FastOpenCookie::of_linux(hash.to_le_bytes())
    }
}

/// Writes an address's bytes at `at`, and returns where they end.
fn put(address: IpAddr, bytes: &mut [u8; 32], at: usize) -> usize {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            bytes[at..at + 4].copy_from_slice(&address.octets());
            at + 4
        }
        IpAddr::V6(address) => {
            bytes[at..at + 16].copy_from_slice(&address.octets());
            at + 16
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COUNTING: FastOpenKey =
        FastOpenKey::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    #[test]
    fn a_cookie_equals_the_kernels() {
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let cookie = COUNTING.cookie(localhost, localhost);
        assert_eq!(cookie.to_string(), "7470bf8286743f86", "read from Linux 6.18");
    }

    #[test]
    fn a_mapped_address_is_one_of_ipv4() {
        let [plain, mapped] =
            ["192.0.2.1", "::ffff:192.0.2.1"].map(|text| text.parse::<IpAddr>().expect("address"));
        let server = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(COUNTING.cookie(plain, server), COUNTING.cookie(mapped, server));
    }

    proptest! {
        #[test]
        fn key_source_and_destination_each_matter(
            key: [u8; 16],
            source: IpAddr,
            destination: IpAddr,
            other: IpAddr,
        ) {
            let cookie = FastOpenKey::new(key).cookie(source, destination);
            prop_assert_eq!(cookie.as_bytes().len(), 8);
            prop_assert_ne!(cookie, FastOpenKey::new(key.map(|byte| !byte)).cookie(source, destination));
            if other.to_canonical() != source.to_canonical() {
                prop_assert_ne!(cookie, FastOpenKey::new(key).cookie(other, destination));
            }
            if other.to_canonical() != destination.to_canonical() {
                prop_assert_ne!(cookie, FastOpenKey::new(key).cookie(source, other));
            }
        }
    }
}
