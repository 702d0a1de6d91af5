//! Patterns that several JSON Schemas share.

/// An address and a port: `192.0.2.1:2222` or `[2001:db8::1]:2222`.
pub(crate) const ADDRESS: &str = r"^([0-9.]+|\[[0-9a-f:.]+(%[^\]]+)?\]):[0-9]{1,5}$";
/// A cookie of 4 to 16 bytes, as hex digits.
pub(crate) const COOKIE: &str = "^([0-9a-f]{2}){4,16}$";
