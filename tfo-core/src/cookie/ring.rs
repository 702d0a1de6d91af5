//! The keys that a server accepts, those that it accepted before, and the next one.

use std::fmt;

use super::FastOpenKey;

/// The keys of one listener: the two that the kernel has, and around them those that only
/// [`forensics`](super::forensics) uses.
///
/// Neither `Display` nor `Debug` shows a key: `Display` shows fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    primary: FastOpenKey,
    backup: Option<FastOpenKey>,
    next: Option<FastOpenKey>,
    previous: Vec<FastOpenKey>,
}

impl KeyRing {
    /// The number of earlier keys that are remembered.
    pub const HISTORY: usize = 4;

    /// Creates a ring: new cookies are made with `primary`, and those of `backup` are accepted as well.
    #[must_use]
    pub fn new(primary: FastOpenKey, backup: Option<FastOpenKey>) -> Self {
        Self { primary, backup, next: None, previous: Vec::new() }
    }

    /// Sets the next key, if it is already known.
    #[must_use]
    pub(crate) fn with_next(mut self, next: Option<FastOpenKey>) -> Self {
        self.next = next;
        self
    }

    /// Sets the keys that are no longer accepted, the latest first; [`HISTORY`](Self::HISTORY) of them are kept.
    #[must_use]
    pub fn with_previous(mut self, previous: impl IntoIterator<Item = FastOpenKey>) -> Self {
        self.previous = previous.into_iter().take(Self::HISTORY).collect();
        self
    }

    /// Returns the ring after a rotation to these keys, with the keys that were removed as history.
    #[must_use]
    pub fn rotated(&self, primary: FastOpenKey, backup: Option<FastOpenKey>) -> Self {
        let mut previous = Vec::new();
        for key in self.backup.iter().chain([&self.primary]).rev().chain(&self.previous) {
            if *key != primary && Some(key) != backup.as_ref() && !previous.contains(key) {
                previous.push(key.clone());
            }
        }
        Self::new(primary, backup).with_previous(previous)
    }

    /// Returns the key that makes new cookies.
    #[must_use]
    pub fn primary(&self) -> &FastOpenKey {
        &self.primary
    }

    /// Returns the other key whose cookies are accepted.
    #[must_use]
    pub fn backup(&self) -> Option<&FastOpenKey> {
        self.backup.as_ref()
    }

    /// Returns the next key, if it is known and not yet the backup.
    #[must_use]
    pub fn next(&self) -> Option<&FastOpenKey> {
        self.next.as_ref()
    }

    /// Returns the keys that are no longer accepted, the latest first.
    #[must_use]
    pub fn previous(&self) -> &[FastOpenKey] {
        &self.previous
    }

    /// Returns whether the kernel has the same two keys with the other ring.
    #[must_use]
    pub fn accepts_as(&self, other: &Self) -> bool {
        self.primary == other.primary && self.backup == other.backup
    }
}

impl fmt::Display for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "primary {}", self.primary.fingerprint())?;
        match &self.backup {
            Some(backup) => write!(f, ", backup {}", backup.fingerprint()),
            None => f.write_str(", no backup"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> FastOpenKey {
        FastOpenKey::new([number; 16])
    }

    #[test]
    fn rotation_remembers_removed_keys_latest_first() {
        let ring = KeyRing::new(key(1), None).rotated(key(1), Some(key(2)));
        assert_eq!(ring.previous(), [], "the new key is backup, nothing left");
        let ring = ring.rotated(key(2), Some(key(1))).rotated(key(2), None);
        assert_eq!(ring.previous(), [key(1)]);
        let ring = ring.rotated(key(3), Some(key(2))).rotated(key(4), Some(key(3)));
        assert_eq!(ring.previous(), [key(2), key(1)]);
        let ring = ring.rotated(key(1), None);
        assert_eq!(ring.previous(), [key(4), key(3), key(2)], "a key that came back is in use");
    }

    #[test]
    fn the_history_is_bounded() {
        let ring = (1..=20).fold(KeyRing::new(key(0), None), |ring, n| ring.rotated(key(n), None));
        assert_eq!(ring.previous(), [key(19), key(18), key(17), key(16)]);
    }

    #[test]
    fn ring_shows_only_fingerprints() {
        let ring = KeyRing::new(key(0xab), Some(key(0xcd))).with_next(Some(key(0xef)));
        let ring = ring.with_previous([key(0xba)]);
        let shown = format!("{ring} {ring:?} {ring:#?}");
        for byte in ["abab", "cdcd", "efef", "baba", "171, 171"] {
            assert!(!shown.contains(byte), "{shown}");
        }
        let [a, b] = [key(0xab), key(0xcd)].map(|key| key.fingerprint());
        assert_eq!(ring.to_string(), format!("primary {a}, backup {b}"));
    }
}
