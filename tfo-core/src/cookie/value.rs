//! A cookie, as in the TCP option and in the cookie cache.

use std::{fmt, str};

use super::fill_from_hex;
use crate::uapi::TCP_FASTOPEN_COOKIE_MAX as MAX;
use crate::{Error, Result};

/// A fast open cookie: up to 16 bytes that a server gave to one client address. Linux gives 8.
///
/// A cookie is not a secret like a key: it crosses the network in the clear. `Display`, `Debug` and serde show hex.
///
/// # References
/// - [RFC 7413, section 4.1](https://www.rfc-editor.org/rfc/rfc7413#section-4.1)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FastOpenCookie {
    bytes: [u8; MAX],
    length: u8,
}

impl FastOpenCookie {
    /// Creates a cookie from its bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] for more than 16 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let mut cookie = Self::default();
        match (cookie.bytes.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(bytes);
                cookie.length = length;
                Ok(cookie)
            }
            _ => Err(malformed(bytes.len())),
        }
    }

    /// Creates a cookie from the 8 bytes that Linux grants.
    #[cfg(feature = "cookie")]
    pub(super) fn of_linux(eight: [u8; 8]) -> Self {
        let mut cookie = Self { length: 8, ..Self::default() };
        cookie.bytes[..8].copy_from_slice(&eight);
        cookie
    }

    /// Parses a cookie from hex digits, two per byte.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything but an even count of 0 to 32 hex digits.
    pub fn from_hex(text: &str) -> Result<Self> {
        let mut bytes = [0; MAX];
        bytes.get_mut(..text.len() / 2).ok_or_else(|| malformed(text.len() / 2)).and_then(|bytes| {
            fill_from_hex(text, bytes).ok_or_else(|| {
                Error::malformed("fast open cookie", "it is an even count of hex digits")
            })?;
            Self::new(bytes)
        })
    }

    /// Returns the cookie's bytes, as in the option.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Returns whether the cookie has no bytes, as in a cookie request.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

fn malformed(length: usize) -> Error {
    Error::malformed("fast open cookie", format!("it has at most {MAX} bytes, not {length}"))
}

impl str::FromStr for FastOpenCookie {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_hex(text)
    }
}

impl fmt::Display for FastOpenCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FastOpenCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FastOpenCookie({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for FastOpenCookie {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for FastOpenCookie {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cookie_shows_its_bytes_in_order() {
        let cookie = FastOpenCookie::from_hex("7470bf8286743f86").expect("8 bytes");
        assert_eq!(cookie.as_bytes(), [0x74, 0x70, 0xbf, 0x82, 0x86, 0x74, 0x3f, 0x86]);
        assert_eq!(cookie.to_string(), "7470bf8286743f86");
        assert_eq!(format!("{cookie:?}"), "FastOpenCookie(7470bf8286743f86)");
        assert!(FastOpenCookie::default().is_empty());
    }

    #[test]
    fn malformed_cookie_is_an_error() {
        for text in ["1", "0g", "+1", "é", &"00".repeat(17)] {
            FastOpenCookie::from_hex(text).expect_err(text);
        }
        FastOpenCookie::new(&[0; 17]).expect_err("16 is the most");
    }

    proptest! {
        #[test]
        fn a_cookie_survives_its_text(bytes in proptest::collection::vec(any::<u8>(), 0..=MAX)) {
            let cookie = FastOpenCookie::new(&bytes).expect("short enough");
            prop_assert_eq!(cookie.as_bytes(), &bytes[..]);
            prop_assert_eq!(cookie.to_string().parse::<FastOpenCookie>().expect("hex"), cookie);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", hex in "[0-9a-fA-F]{0,40}") {
            let _ = FastOpenCookie::from_hex(&text);
            let valid = hex.len() % 2 == 0 && hex.len() <= 32;
            prop_assert_eq!(FastOpenCookie::from_hex(&hex).is_ok(), valid);
        }
    }
}
