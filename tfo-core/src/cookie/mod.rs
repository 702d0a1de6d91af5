//! Cookies, and the keys that make them.
//!
//! The feature `cookie` adds what follows from a key: the cookie that it makes for a client, its fingerprint, keys
//! that a fleet derives from the clock (`derived`), and which key made a cookie (`forensics`).

#[cfg(feature = "cookie")]
mod compute;
#[cfg(feature = "cookie")]
pub mod derived;
#[cfg(feature = "cookie")]
mod fingerprint;
#[cfg(feature = "cookie")]
pub mod forensics;
mod key;
#[cfg(feature = "cookie")]
mod ring;
mod value;

#[cfg(feature = "cookie")]
pub use fingerprint::Fingerprint;
pub use key::FastOpenKey;
#[cfg(feature = "cookie")]
pub use ring::KeyRing;
pub use value::FastOpenCookie;

/// Returns bytes as hex digits.
fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

/// Parses hex digits into `bytes`; the text must have exactly as many as the array holds.
fn fill_from_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        let value = char::from(high).to_digit(16)? << 4 | char::from(low).to_digit(16)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(())
}
