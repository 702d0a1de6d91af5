//! The key that a server makes cookies with.

use std::fmt;

use super::{fill_from_hex, to_hex};
use crate::{Error, Result};

/// A fast open key: 16 bytes, as `setsockopt(TCP_FASTOPEN_KEY)` takes them.
///
/// The key allows making valid cookies for any address: `Debug` does not show it, there is no `Display`, and errors
/// never repeat their input.
///
/// ```
/// use tfo_core::cookie::FastOpenKey;
/// use tfo_core::socket::option;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let key = FastOpenKey::from_hex("000102030405060708090a0b0c0d0e0f")?;
/// option::set_fastopen_key(&listener, &key, None)?;
/// assert_eq!(option::fastopen_key(&listener)?, [key]);
/// # Ok(())
/// # }
/// ```
///
/// # References
/// - [`tcp_fastopen_key`](https://docs.kernel.org/networking/ip-sysctl.html)
#[doc(alias = "TCP_FASTOPEN_KEY")]
#[derive(Clone, PartialEq, Eq)]
pub struct FastOpenKey([u8; Self::LENGTH]);

impl FastOpenKey {
    /// `TCP_FASTOPEN_KEY_LENGTH`, in bytes.
    pub const LENGTH: usize = 16;

    /// Creates a key from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Parses a key from 32 hex digits.
    ///
    /// Text with dashes is refused: it comes from the sysctl, where the same digits are other bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything but 32 hex digits.
    pub fn from_hex(text: &str) -> Result<Self> {
        let mut bytes = [0; Self::LENGTH];
        fill_from_hex(text, &mut bytes).ok_or_else(|| malformed("a key is 32 hex digits"))?;
        Ok(Self(bytes))
    }

    /// Parses a key from the text of `net.ipv4.tcp_fastopen_key`, such as `03020100-07060504-0b0a0908-0f0e0d0c` for
    /// the bytes 00 to 0f.
    ///
    /// Each group of 8 digits is a number with the lowest byte first, on every machine.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything but four groups of 8 hex digits with dashes between them.
    pub(crate) fn from_sysctl_text(text: &str) -> Result<Self> {
        let mut bytes = [0; Self::LENGTH];
        let mut groups = text.trim_ascii().split('-');
        for word in bytes.chunks_exact_mut(4) {
            groups
                .next()
                .and_then(|group| fill_from_hex(group, word))
                .ok_or_else(malformed_sysctl_text)?;
            word.reverse();
        }
        match groups.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(malformed_sysctl_text()),
        }
    }

    /// Parses the primary key and, after a comma, the backup key from the text of `net.ipv4.tcp_fastopen_key`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one of them is not in the format of `net.ipv4.tcp_fastopen_key`.
    pub fn pair_from_sysctl_text(text: &str) -> Result<(Self, Option<Self>)> {
        match text.split_once(',') {
            None => Ok((Self::from_sysctl_text(text)?, None)),
            Some((primary, backup)) => {
                Ok((Self::from_sysctl_text(primary)?, Some(Self::from_sysctl_text(backup)?)))
            }
        }
    }

    /// Returns **the key itself** as 32 hex digits, as [`from_hex`](Self::from_hex) reads them.
    #[must_use]
    pub fn reveal_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// Returns **the key itself** in the text of `net.ipv4.tcp_fastopen_key`, as
    /// `net.ipv4.tcp_fastopen_key` reads it.
    #[must_use]
    pub fn reveal_sysctl_text(&self) -> String {
        let (words, _) = self.0.as_chunks::<4>();
        let words = words.iter().map(|word| format!("{:08x}", u32::from_le_bytes(*word)));
        words.collect::<Vec<_>>().join("-")
    }

    /// Returns whether all bytes are zero. The kernel accepts such a key, although it is public; the sysctl shows
    /// it while the namespace has no key.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == [0; Self::LENGTH]
    }

    /// Returns the key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

fn malformed(reason: &str) -> Error {
    Error::malformed("fast open key", reason)
}

fn malformed_sysctl_text() -> Error {
    malformed("a key is four groups of 8 hex digits with dashes between them")
}

impl fmt::Debug for FastOpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FastOpenKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COUNTING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn the_two_texts_of_one_key_agree() {
        let bytes = FastOpenKey::from_hex("000102030405060708090a0b0c0d0e0f").expect("32 digits");
        let words = FastOpenKey::from_sysctl_text("03020100-07060504-0b0a0908-0f0e0d0c\n")
            .expect("as the kernel prints it");
        assert_eq!(bytes.as_bytes(), &COUNTING);
        assert_eq!(words, bytes, "the sysctl's groups are little-endian words");
        assert_eq!(bytes.reveal_hex(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(bytes.reveal_sysctl_text(), "03020100-07060504-0b0a0908-0f0e0d0c");
    }

    #[test]
    fn a_backup_key_follows_a_comma() {
        let text = "00000000-11111111-22222222-33333333,03020100-07060504-0b0a0908-0f0e0d0c\n";
        let (primary, backup) = FastOpenKey::pair_from_sysctl_text(text).expect("two keys");
        assert_eq!(primary.as_bytes()[4..8], [0x11; 4]);
        assert_eq!(backup, Some(FastOpenKey::new(COUNTING)));
        let (_, backup) = FastOpenKey::pair_from_sysctl_text(&text[..35]).expect("one key");
        assert_eq!(backup, None);
    }

    #[test]
    fn key_is_never_printed() {
        let key = FastOpenKey::new([0xab; 16]);
        assert_eq!(format!("{key:?}"), "FastOpenKey(..)");
        let secret = "deadbeef-deadbeef-deadbeef-deadbee";
        let error = FastOpenKey::from_sysctl_text(secret).expect_err("a digit is missing");
        assert!(!format!("{error} {error:?}").contains("deadbeef"), "an error may be logged");
    }

    #[test]
    fn malformed_key_is_an_error() {
        let dashes = "00000000-11111111-22222222-33333333";
        FastOpenKey::from_hex(dashes).expect_err("its bytes would come out in another order");
        for text in [
            "",
            "0",
            "00000000-11111111-22222222",
            "00000000-11111111-22222222-33333333-44444444",
            "0000000-011111111-22222222-33333333",
            "+0000000-11111111-22222222-33333333",
            "00000000111111112222222233333333",
        ] {
            FastOpenKey::from_sysctl_text(text).expect_err(text);
        }
    }

    proptest! {
        #[test]
        fn a_key_survives_both_texts(bytes: [u8; 16]) {
            let key = FastOpenKey::new(bytes);
            let read = FastOpenKey::from_hex(&key.reveal_hex()).expect("hex");
            prop_assert_eq!(&read, &key);
            let read = FastOpenKey::from_sysctl_text(&key.reveal_sysctl_text()).expect("words");
            prop_assert_eq!(&read, &key);
            prop_assert_eq!(key.is_zero(), bytes.iter().all(|byte| *byte == 0));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}", like in "[0-9a-f,-]{30,75}") {
            for text in [text, like] {
                let _ = FastOpenKey::from_hex(&text);
                let _ = FastOpenKey::pair_from_sysctl_text(&text);
            }
        }
    }
}
