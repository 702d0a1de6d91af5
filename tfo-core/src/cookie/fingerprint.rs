//! A short name for a key that does not reveal the key.

use std::fmt;

use sha2::{Digest, Sha256};

use super::FastOpenKey;
use super::derived::Secret;

/// The first 32 bits of a labelled SHA-256 of a key: enough to distinguish the keys of a fleet, and useless for
/// making cookies. `Display` gives 8 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 4]);

impl Fingerprint {
    /// Computes a fingerprint. `label` keeps different kinds of secrets apart.
    fn new(label: &str, bytes: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(label).chain_update([0]).chain_update(bytes);
        let hash: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, ..] = hash;
        Self([a, b, c, d])
    }
}

impl FastOpenKey {
    /// Returns the key's fingerprint, which is the same on every host.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new("tfo fast open key fingerprint", self.as_bytes())
    }
}

impl Secret {
    /// Returns the secret's fingerprint, which is the same on every host.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new("tfo fleet secret fingerprint", self.as_bytes())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_of_a_key_is_stable() {
        let [zeros, ones] = [0, 1].map(|byte| FastOpenKey::new([byte; 16]));
        assert_eq!(zeros.fingerprint(), zeros.clone().fingerprint());
        assert_ne!(zeros.fingerprint(), ones.fingerprint());
        let text = ones.fingerprint().to_string();
        assert_eq!(text, "8f0fd225", "operators write them down");
        assert!(!ones.as_bytes().starts_with(&ones.fingerprint().0));
    }

    #[test]
    fn fingerprints_of_a_key_and_an_equal_secret_differ() {
        let key = FastOpenKey::new([7; 16]);
        let secret = Secret::from_hex(&"07".repeat(16)).expect("16 bytes");
        assert_ne!(key.fingerprint(), secret.fingerprint());
    }
}
