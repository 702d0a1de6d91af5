use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use super::Expected;

/// An integer from `MIN` to `MAX`, by default `DEFAULT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer<const MIN: u32, const MAX: u32, const DEFAULT: u32 = MIN>(u32);

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Integer<MIN, MAX, DEFAULT> {
    /// Creates a value that is known at compile time.
    ///
    /// # Panics
    /// If the value is out of range. Call it in a `const`.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        assert!(value >= MIN && value <= MAX, "out of range");
        Self(value)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the number, or `None` if it is 0: for settings in which 0 means "off" or "no limit".
    #[must_use]
    pub const fn nonzero(self) -> Option<u32> {
        if self.0 == 0 { None } else { Some(self.0) }
    }

    fn checked(value: i128) -> Result<Self, Expected> {
        match u32::try_from(value) {
            Ok(value) if (MIN..=MAX).contains(&value) => Ok(Self(value)),
            _ => Err(Self::expected()),
        }
    }

    fn expected() -> Expected {
        Expected::new(format_args!("an integer from {MIN} to {MAX}"))
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Default for Integer<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        const { Self::new(DEFAULT) }
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> FromStr for Integer<MIN, MAX, DEFAULT> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        text.parse().map_err(|_| Self::expected()).and_then(Self::checked)
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> fmt::Display
    for Integer<MIN, MAX, DEFAULT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Serialize for Integer<MIN, MAX, DEFAULT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const MIN: u32, const MAX: u32, const DEFAULT: u32> Deserialize<'de>
    for Integer<MIN, MAX, DEFAULT>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(Number {
            what: format!("an integer from {MIN} to {MAX}"),
            check: Self::checked,
        })
    }
}

/// A TCP port to connect to or to listen on, from 1 to 65535, by default `DEFAULT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port<const DEFAULT: u16 = 1>(u16);

const PORT: &str = "a port from 1 to 65535";

impl<const DEFAULT: u16> Port<DEFAULT> {
    /// Creates a port that is known at compile time.
    ///
    /// # Panics
    /// If the port is 0. Call it in a `const`.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        assert!(port != 0, "port 0");
        Self(port)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns the same port as a setting with another default.
    #[must_use]
    pub const fn with_default<const OTHER: u16>(self) -> Port<OTHER> {
        Port(self.0)
    }

    fn checked(value: i128) -> Result<Self, Expected> {
        match u16::try_from(value) {
            Ok(port @ 1..) => Ok(Self(port)),
            _ => Err(Expected::new(PORT)),
        }
    }
}

impl<const DEFAULT: u16> Default for Port<DEFAULT> {
    fn default() -> Self {
        const { Self::new(DEFAULT) }
    }
}

impl<const DEFAULT: u16> FromStr for Port<DEFAULT> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        text.parse().map_err(|_| Expected::new(PORT)).and_then(Self::checked)
    }
}

impl<const DEFAULT: u16> fmt::Display for Port<DEFAULT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const DEFAULT: u16> Serialize for Port<DEFAULT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de, const DEFAULT: u16> Deserialize<'de> for Port<DEFAULT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(Number { what: PORT.to_owned(), check: Self::checked })
    }
}

struct Number<T> {
    what: String,
    check: fn(i128) -> Result<T, Expected>,
}

impl<T> Number<T> {
    fn visit<E: de::Error>(self, value: i128) -> Result<T, E> {
        (self.check)(value).map_err(|e| E::custom(format!("invalid value {value}: {e}")))
    }
}

impl<T> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit(value.into())
    }

    // An integer literal in TOML may have more than 64 bits.
    fn visit_i128<E: de::Error>(self, value: i128) -> Result<T, E> {
        self.visit(value)
    }
}
