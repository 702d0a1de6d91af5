use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use super::Expected;

/// An integer from `MIN` to `MAX`, by default `DEFAULT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer<const MIN: u32, const MAX: u32, const DEFAULT: u32 = MIN>(u32);

/// A TCP port to connect to or to listen on, from 1 to 65535, by default `DEFAULT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port<const DEFAULT: u16 = 1>(u16);

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

    fn checked(value: i128) -> Option<Self> {
        let value = u32::try_from(value).ok()?;
        (MIN..=MAX).contains(&value).then_some(Self(value))
    }

    fn allowed() -> String {
        format!("an integer from {MIN} to {MAX}")
    }
}

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

    fn checked(value: i128) -> Option<Self> {
        u16::try_from(value).ok().filter(|port| *port != 0).map(Self)
    }

    fn allowed() -> String {
        "a port from 1 to 65535".to_owned()
    }
}

/// Implements the traits of a number by its `new`, `checked` and `allowed`.
macro_rules! number {
    ([$($generics:tt)+] $name:ty) => {
        impl<$($generics)+> Default for $name {
            fn default() -> Self {
                const { Self::new(DEFAULT) }
            }
        }

        impl<$($generics)+> FromStr for $name {
            type Err = Expected;

            fn from_str(text: &str) -> Result<Self, Expected> {
                let value = text.parse().ok().and_then(Self::checked);
                value.ok_or_else(|| Expected::new(Self::allowed()))
            }
        }

        impl<$($generics)+> fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<$($generics)+> Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de, $($generics)+> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (allowed, check) = (Self::allowed(), Self::checked);
                deserializer.deserialize_i64(Number { allowed, check })
            }
        }
    };
}

number!([const MIN: u32, const MAX: u32, const DEFAULT: u32] Integer<MIN, MAX, DEFAULT>);
number!([const DEFAULT: u16] Port<DEFAULT>);

struct Number<T> {
    allowed: String,
    check: fn(i128) -> Option<T>,
}

impl<T> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.allowed)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_i128(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_i128(value.into())
    }

    // An integer literal in TOML may have more than 64 bits.
    fn visit_i128<E: de::Error>(self, value: i128) -> Result<T, E> {
        (self.check)(value).ok_or_else(|| {
            E::custom(format!("invalid value {value}: {}", Expected::new(self.allowed)))
        })
    }
}
