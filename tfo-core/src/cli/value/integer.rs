use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use super::Expected;

/// An integer from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Integer<MIN, MAX> {
    /// A value that is known when the program is compiled.
    ///
    /// # Panics
    /// When it is out of range: call it in a `const`.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        assert!(value >= MIN && value <= MAX, "out of range");
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
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

impl<const MIN: u32, const MAX: u32> FromStr for Integer<MIN, MAX> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        text.parse().map_err(|_| Self::expected()).and_then(Self::checked)
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Integer<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Integer<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Integer<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(Number {
            what: format!("an integer from {MIN} to {MAX}"),
            check: Self::checked,
        })
    }
}

/// A TCP port that one can connect to: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(u16);

impl Port {
    const ALLOWED: &'static str = "a port from 1 to 65535";

    /// A port that is known when the program is compiled.
    ///
    /// # Panics
    /// When it is 0: call it in a `const`.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        assert!(port != 0, "port 0");
        Self(port)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    fn checked(value: i128) -> Result<Self, Expected> {
        match u16::try_from(value) {
            Ok(port @ 1..) => Ok(Self(port)),
            _ => Err(Expected::new(Self::ALLOWED)),
        }
    }
}

impl FromStr for Port {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        text.parse().map_err(|_| Expected::new(Self::ALLOWED)).and_then(Self::checked)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_i64(Number { what: Self::ALLOWED.to_owned(), check: Self::checked })
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

    // TOML's integers may be longer than 64 bits on the page.
    fn visit_i128<E: de::Error>(self, value: i128) -> Result<T, E> {
        self.visit(value)
    }
}
