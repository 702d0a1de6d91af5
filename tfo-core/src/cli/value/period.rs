use std::{fmt, str::FromStr, time::Duration};

use super::{Expected, examples};
use crate::as_text;

/// Milliseconds in a second, for the bounds and the default of a [`Period`].
pub const SECOND: u64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Milliseconds in an hour.
pub const HOUR: u64 = 60 * MINUTE;
/// Milliseconds in a day.
pub const DAY: u64 = 24 * HOUR;

/// A duration from `MIN` to `MAX` milliseconds, by default `DEFAULT`, as text with a unit: `"250ms"`,
/// `"1m30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period<const MIN: u64, const MAX: u64, const DEFAULT: u64 = MIN>(Duration);

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Period<MIN, MAX, DEFAULT> {
    /// Creates a value that is known at compile time.
    ///
    /// # Panics
    /// If the value is out of range. Call it in a `const`.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        assert!(millis >= MIN && millis <= MAX, "out of range");
        Self(Duration::from_millis(millis))
    }

    /// Returns the duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Returns the duration, or `None` if it is zero: for settings in which zero means "off".
    #[must_use]
    pub fn nonzero(self) -> Option<Duration> {
        Some(self.0).filter(|duration| !duration.is_zero())
    }

    /// Returns the duration, or `limit` if that is shorter.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self(self.0.min(limit).max(Duration::from_millis(MIN)))
    }

    fn allowed() -> String {
        let [min, max] = [MIN, MAX].map(|millis| text(Duration::from_millis(millis)));
        let examples =
            examples(&[(250, "250ms"), (90 * SECOND, "1m30s"), (12 * HOUR, "12h")], |millis| {
                (MIN..=MAX).contains(&millis)
            });
        format!("a duration from {min} to {max}{examples}")
    }
}

/// Formats a duration as `humantime` does, but without spaces, and zero with a unit.
fn text(duration: Duration) -> String {
    if duration.is_zero() {
        return "0ms".to_owned();
    }
    humantime::format_duration(duration).to_string().replace(' ', "")
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Default for Period<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        const { Self::from_millis(DEFAULT) }
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> FromStr for Period<MIN, MAX, DEFAULT> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let range = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
        match humantime::parse_duration(text) {
            // `humantime` accepts 0 without a unit.
            Ok(duration) if range.contains(&duration) && text.ends_with(char::is_alphabetic) => {
                Ok(Self(duration))
            }
            _ => Err(Expected::new(Self::allowed())),
        }
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> fmt::Display
    for Period<MIN, MAX, DEFAULT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&text(self.0))
    }
}

as_text!(for [const MIN: u64, const MAX: u64, const DEFAULT: u64] Period<MIN, MAX, DEFAULT>, &Self::allowed());
