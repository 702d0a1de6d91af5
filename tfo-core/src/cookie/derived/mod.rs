//! Keys that the servers of a fleet derive from one secret and the clock, so that all rotate without communicating.
//!
//! # The rule
//! Time since 1970 is divided into epochs of equal length. Epoch *e* has the key *k(e)* = HKDF-SHA256(secret, a
//! label and *e*). A server whose clock is in epoch *e* has
//!
//! | in the epoch's | primary: new cookies | backup: accepted too |
//! | --- | --- | --- |
//! | first four fifths | *k(e)* | *k(e − 1)* |
//! | last fifth | *k(e)* | *k(e + 1)* |
//!
//! This is the order of a manual rotation with two slots: the next key becomes the backup on every server before
//! any server grants cookies with it; then the two are swapped; later the old key is removed. During the swap,
//! servers before and after it accept the same two keys.
//!
//! # What it holds
//! Let *d* be the largest difference between the clocks of any two servers, plus the time that a server takes to
//! notice that a slot has changed. **With *d* up to a fifth of an epoch, a client that comes back within four
//! fifths of an epoch less *d* of its last connection, to any server, misses nothing.** If the clocks differ by a
//! tenth of an epoch, that is seven tenths of an epoch.
//!
//! After a connection a client holds a cookie of its server's primary key, because a cookie of the backup is
//! renewed along with the answer. Let that key be *k(e)*.
//! - A server whose clock is behind is in epoch *e* too, or in the last *d* of *e* − 1, which lies within the last
//!   fifth of that epoch: *k(e)* is its backup.
//! - A server whose clock is ahead drops *k(e)* four fifths into *e* + 1, and no server grants *k(e)* later than
//!   *d* after the first server has entered *e* + 1.
//!
//! # What it does not hold
//! A cookie is accepted for between 0.8 and 1.8 epochs (less and plus *d*) after it was granted or renewed,
//! depending on when in the epoch that was. **A client that stays away for longer misses once**: its data is sent
//! again after the handshake, and it gets a new cookie. For clients that come once a day, choose an epoch of two
//! days.
//!
//! A server whose clock is wrong by more than a fifth of an epoch causes misses for the clients that it shares with
//! others until the clock is corrected. Cookies of the [next](super::KeyRing::next) key, which
//! [`forensics`](super::forensics) identifies, are the sign of it.
//!
//! # Example
//! ```
//! use std::time::{Duration, SystemTime};
//! use tfo_core::cookie::derived::{Schedule, Secret};
//!
//! # fn main() -> tfo_core::Result<()> {
//! let secret = Secret::from_hex("00112233445566778899aabbccddeeff")?;
//! let two_days = Schedule::new(Duration::from_secs(2 * 24 * 60 * 60));
//! let ring = two_days.ring(&secret, SystemTime::now());
//! // For `FastOpenListener::set_keys`, on every server of the fleet.
//! let (primary, backup) = (ring.primary(), ring.backup());
//! # let _ = (primary, backup);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::time::{Duration, SystemTime};

use hkdf::Hkdf;
use sha2::Sha256;

use super::{FastOpenKey, KeyRing, fill_from_hex, to_hex};
use crate::{Error, Result};

/// Part of the format: a fleet with another label has other keys.
const LABEL: &[u8] = b"tfo derived fast open key v1";
/// The last of this many parts of an epoch prepares the next epoch.
const PARTS: u128 = 5;

/// The secret that the servers of a fleet share: 16 to 64 bytes.
///
/// The secret yields every past and future key of the fleet: `Debug` does not show it, there is no `Display`, and
/// errors never repeat their input.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The minimum number of bytes.
    pub const MIN_LENGTH: usize = 16;
    /// The maximum number of bytes.
    pub const MAX_LENGTH: usize = 64;

    /// Creates a secret from bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] for less than 16 or more than 64 bytes, and for zeros alone.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if !(Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&bytes.len()) {
            return Err(malformed("a secret is 32 to 128 hex digits (16 to 64 bytes)"));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(malformed("a secret must not be all zeros"));
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Parses a secret from hex digits.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for text that is not an even number of hex digits.
    pub fn from_hex(text: &str) -> Result<Self> {
        // The length is checked first: a wrong one must not cost memory.
        let mut bytes = [0; Self::MAX_LENGTH];
        let bytes = bytes
            .get_mut(..text.len() / 2)
            .filter(|bytes| bytes.len() >= Self::MIN_LENGTH)
            .ok_or_else(|| malformed("a secret is 32 to 128 hex digits (16 to 64 bytes)"))?;
        fill_from_hex(text, bytes)
            .ok_or_else(|| malformed("a secret is an even count of hex digits"))?;
        Self::new(bytes)
    }

    /// Returns **the secret itself** as hex digits, as [`from_hex`](Self::from_hex) reads them.
    #[must_use]
    pub fn reveal_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// Returns the key of an epoch.
    ///
    /// # Panics
    /// Never: HKDF can fill far more than one key.
    #[must_use]
    pub fn key(&self, epoch: u64) -> FastOpenKey {
        let mut key = [0; FastOpenKey::LENGTH];
        let info = [LABEL, &epoch.to_be_bytes()];
        #[expect(clippy::expect_used, reason = "only more than 8160 bytes are an error")]
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(&info, &mut key)
            .expect("16 bytes are few enough");
        FastOpenKey::new(key)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn malformed(reason: &str) -> Error {
    Error::malformed("fleet secret", reason)
}

/// The times at which the keys of a fleet change. The module documentation states the [rule](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    every: Duration,
}

/// The epochs whose keys are in use at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slots {
    /// The epoch whose key makes new cookies.
    pub primary: u64,
    /// The epoch whose cookies are accepted as well: the previous one, or already the next.
    pub backup: u64,
}

impl Schedule {
    /// Creates a schedule with a new epoch every `every`, at least a second.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self { every: every.max(Duration::from_secs(1)) }
    }

    /// Returns the epochs whose keys are in use at `now`. A clock before 1970 counts as 1970.
    #[must_use]
    pub fn slots(&self, now: SystemTime) -> Slots {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let every = self.every.as_nanos();
        let primary = u64::try_from(now / every).unwrap_or(u64::MAX);
        let prepares = now % every * PARTS >= every * (PARTS - 1);
        let backup = match primary.checked_sub(1) {
            Some(before) if !prepares => before,
            // The first epoch has no previous one.
            _ => primary.saturating_add(1),
        };
        Slots { primary, backup }
    }

    /// Returns the keys in use at `now`, with the keys around them.
    #[must_use]
    pub fn ring(&self, secret: &Secret, now: SystemTime) -> KeyRing {
        let Slots { primary, backup } = self.slots(now);
        let next = primary.saturating_add(1);
        let previous = (0..primary).rev().filter(|epoch| *epoch != backup);
        KeyRing::new(secret.key(primary), Some(secret.key(backup)))
            .with_next((backup != next).then(|| secret.key(next)))
            .with_previous(previous.take(KeyRing::HISTORY).map(|epoch| secret.key(epoch)))
    }

    /// Returns the length of an epoch.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.every
    }
}

#[cfg(test)]
mod tests;
