//! Values of settings.
//!
//! Each type has one rule, its [`FromStr`], for flags, variables and files, and one text that states the rule.
//! A type is written in the form in which it can be read. Ranges and defaults are parameters of the types, so that a
//! field of a configuration model states type, range and default in one place:
//!
//! ```
//! use tfo_core::cli::value::{HOUR, Integer, Period, SECOND};
//!
//! #[derive(Default)]
//! struct Limits {
//!     connections: Integer<1, 1_000_000, 65_536>,
//!     drain_timeout: Period<0, HOUR, { 10 * SECOND }>,
//! }
//!
//! assert_eq!(Limits::default().connections.get(), 65_536);
//! assert_eq!(Limits::default().drain_timeout.to_string(), "10s");
//! ```

mod choice;
mod integer;
mod period;
mod size;

use std::{error, fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

pub use choice::{Format, named, named_values, names, possible_values};
pub use integer::{Integer, Port};
pub use period::{DAY, HOUR, MINUTE, Period, SECOND};
pub use size::{KIB, MIB, Size};

/// What a setting may be, for a message that has named the value: `expected a port from 1 to 65535`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(String);

impl Expected {
    /// Creates the message "expected `what`".
    #[must_use]
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl error::Error for Expected {}

/// Deserializes a setting that files contain as text, by the rule of its [`FromStr`]. `what` states the rule
/// for a value of another type.
///
/// # Errors
/// If the value is not text, or breaks the rule.
pub fn from_text<'de, T, D>(deserializer: D, what: &str) -> Result<T, D::Error>
where
    T: FromStr<Err = Expected>,
    D: Deserializer<'de>,
{
    struct Text<'a, T>(&'a str, PhantomData<T>);

    impl<T: FromStr<Err = Expected>> Visitor<'_> for Text<'_, T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|e: Expected| E::custom(format!("invalid value {text:?}: {e}")))
        }
    }

    deserializer.deserialize_str(Text(what, PhantomData))
}

/// Implements `Serialize` by the type's `Display`, and `Deserialize` by its `FromStr`. The second argument states
/// the rule, as "expected …" continues.
#[doc(hidden)]
#[macro_export]
macro_rules! as_text {
    (for [$($generics:tt)*] $name:ty, $allowed:expr) => {
        impl<$($generics)*> $crate::cli::serde::Serialize for $name {
            fn serialize<S: $crate::cli::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de, $($generics)*> $crate::cli::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::cli::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                $crate::cli::value::from_text(deserializer, $allowed)
            }
        }
    };
    ($name:ty, $allowed:expr) => {
        $crate::as_text!(for [] $name, $allowed);
    };
}

/// Returns `, such as "a" or "b"`, of the first two examples whose values are allowed.
fn examples<T: Copy>(all: &[(T, &str)], is_allowed: impl Fn(T) -> bool) -> String {
    let fitting: Vec<String> = all
        .iter()
        .filter(|(value, _)| is_allowed(*value))
        .take(2)
        .map(|(_, text)| format!("\"{text}\""))
        .collect();
    if fitting.is_empty() { String::new() } else { format!(", such as {}", fitting.join(" or ")) }
}

/// Returns "`a`, `b` or `c`".
#[must_use]
pub fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// Returns the name that is most similar to `found`, if one is similar enough for a mistyped word.
#[must_use]
pub fn nearest<'a>(names: &[&'a str], found: &str) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, found), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// Returns the message for a word that is none of `names`, with the most similar name as a suggestion.
#[must_use]
pub fn expected_one_of(names: &[&str], found: &str) -> Expected {
    let list = one_of(names);
    Expected(match nearest(names, found) {
        Some(name) => format!("{list}; did you mean `{name}`?"),
        None => list,
    })
}

/// A boolean, by default `DEFAULT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Switch<const DEFAULT: bool>(bool);

impl<const DEFAULT: bool> Switch<DEFAULT> {
    /// Returns whether the setting is on.
    #[must_use]
    pub const fn get(self) -> bool {
        self.0
    }
}

impl<const DEFAULT: bool> Default for Switch<DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

/// Deserializes a table. Derived code would also accept an array and assign its values in the order of the fields.
///
/// # Errors
/// If the value is not a table, or the content of the table is refused.
pub fn table<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Table<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(de::value::MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Table(PhantomData))
}

#[cfg(test)]
mod tests;
