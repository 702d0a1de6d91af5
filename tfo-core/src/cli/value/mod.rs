//! Values of settings. Each type has one rule, which flags and variables ([`FromStr`]) and files
//! ([`Deserialize`]) share, and is written back as it can be read.

mod choice;
mod integer;
mod period;
mod size;

use std::{error, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

pub use choice::Format;
pub use integer::{Integer, Port};
pub use period::Period;
pub use size::Size;

/// What a setting may hold, after a value that it may not: `expected a port from 1 to 65535`.
/// The value stands in the message of who read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(String);

impl Expected {
    /// `what` completes "expected …".
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

/// Deserializes a setting that files hold as text, by the rule of its [`FromStr`]. `what` is what
/// a value of another type is told to be.
///
/// # Errors
/// When the value isn't text, or breaks the rule.
pub fn from_text<'de, T, D>(deserializer: D, what: &str) -> Result<T, D::Error>
where
    T: FromStr<Err = Expected>,
    D: Deserializer<'de>,
{
    struct Text<'a, T>(&'a str, std::marker::PhantomData<T>);

    impl<T: FromStr<Err = Expected>> Visitor<'_> for Text<'_, T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|e: Expected| E::custom(format!("invalid value {text:?}: {e}")))
        }
    }

    deserializer.deserialize_str(Text(what, std::marker::PhantomData))
}

/// "`a`, `b` or `c`".
#[must_use]
pub fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// The name that `found` may have been meant to be.
#[must_use]
pub fn nearest<'a>(names: &[&'a str], found: &str) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, found), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// The names that are allowed, and the one that `found` may have been meant to be.
#[must_use]
pub fn expected_one_of(names: &[&str], found: &str) -> Expected {
    let list = one_of(names);
    Expected(match nearest(names, found) {
        Some(name) => format!("{list}; did you mean `{name}`?"),
        None => list,
    })
}

/// Yes or no: TOML's own boolean in a file, `true` or `false` in a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[allow(clippy::exhaustive_structs, reason = "a boolean that has a rule for text")]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        text.parse().map(Self).map_err(|_| Expected::new("true or false"))
    }
}

/// Deserializes a table of a file. Derived code takes an array too, by the order of the fields;
/// in a file that is a mistake.
///
/// # Errors
/// When the value isn't a table, or its content is refused.
pub fn table<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Table<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(de::value::MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Table(std::marker::PhantomData))
}

#[cfg(test)]
mod tests;
