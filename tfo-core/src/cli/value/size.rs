use std::{fmt, str::FromStr};

use super::{Expected, examples};
use crate::as_text;

/// Bytes in a KiB, for the bounds and the default of a [`Size`].
pub const KIB: usize = 1 << 10;
/// Bytes in a MiB.
pub const MIB: usize = 1 << 20;

/// In descending order, so that a size is written with the largest unit that divides it.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes from `MIN` to `MAX`, by default `DEFAULT`, as text with a unit: `"64B"`,
/// `"16KiB"`.
///
/// Decimal units are refused, because programs disagree on whether `KB` means 1000 or 1024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: usize, const MAX: usize, const DEFAULT: usize = MIN>(usize);

impl<const MIN: usize, const MAX: usize, const DEFAULT: usize> Size<MIN, MAX, DEFAULT> {
    /// Creates a value that is known at compile time.
    ///
    /// # Panics
    /// If the value is out of range. Call it in a `const`.
    #[must_use]
    pub const fn from_bytes(bytes: usize) -> Self {
        assert!(bytes >= MIN && bytes <= MAX, "out of range");
        Self(bytes)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }

    fn allowed() -> String {
        let [min, max] = [text(MIN), text(MAX)];
        let examples = examples(&[(64, "64B"), (16 * KIB, "16KiB"), (MIB, "1MiB")], |bytes| {
            (MIN..=MAX).contains(&bytes)
        });
        format!("a size from {min} to {max}{examples}")
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

impl<const MIN: usize, const MAX: usize, const DEFAULT: usize> Default for Size<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        const { Self::from_bytes(DEFAULT) }
    }
}

impl<const MIN: usize, const MAX: usize, const DEFAULT: usize> FromStr for Size<MIN, MAX, DEFAULT> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match bytes(text) {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Ok(Self(bytes)),
            _ => Err(Expected::new(Self::allowed())),
        }
    }
}

impl<const MIN: usize, const MAX: usize, const DEFAULT: usize> fmt::Display
    for Size<MIN, MAX, DEFAULT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&text(self.0))
    }
}

as_text!(for [const MIN: usize, const MAX: usize, const DEFAULT: usize] Size<MIN, MAX, DEFAULT>, &Self::allowed());
