use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Expected, from_text};

/// Largest first, so that a size is written with the largest unit that divides it.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes from `MIN` to `MAX`, as text with a unit: `"64B"`, `"16KiB"`.
///
/// Decimal units are refused: half of the programs read `KB` as 1000 bytes, the others as 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: usize, const MAX: usize>(usize);

impl<const MIN: usize, const MAX: usize> Size<MIN, MAX> {
    /// A value that is known when the program is compiled.
    ///
    /// # Panics
    /// When it is out of range: call it in a `const`.
    #[must_use]
    pub const fn from_bytes(bytes: usize) -> Self {
        assert!(bytes >= MIN && bytes <= MAX, "out of range");
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }

    fn allowed() -> String {
        let [min, max] = [text(MIN), text(MAX)];
        format!(r#"a size from {min} to {max}, such as "64B" or "16KiB""#)
    }
}

fn text(bytes: usize) -> String {
    let bytes = bytes as u64;
    for (unit, factor) in UNITS {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    "0B".to_owned()
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit.trim_start())?;
    usize::try_from(number.parse::<u64>().ok()?.checked_mul(factor)?).ok()
}

impl<const MIN: usize, const MAX: usize> FromStr for Size<MIN, MAX> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match bytes(text) {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Ok(Self(bytes)),
            _ => Err(Expected::new(Self::allowed())),
        }
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&text(self.0))
    }
}

impl<const MIN: usize, const MAX: usize> Serialize for Size<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, &Self::allowed())
    }
}
