use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Expected, from_text};

/// A duration from `MIN` to `MAX` milliseconds, as text with a unit: `"250ms"`, `"1m30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    /// A value that is known when the program is compiled.
    ///
    /// # Panics
    /// When it is out of range: call it in a `const`.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        assert!(millis >= MIN && millis <= MAX, "out of range");
        Self(Duration::from_millis(millis))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    fn allowed() -> String {
        let [min, max] = [MIN, MAX].map(|millis| text(Duration::from_millis(millis)));
        format!(r#"a duration from {min} to {max}, such as "250ms" or "1m30s""#)
    }
}

/// Without the spaces of `humantime`, and with a unit on nothing.
fn text(duration: Duration) -> String {
    if duration.is_zero() {
        return "0ms".to_owned();
    }
    humantime::format_duration(duration).to_string().replace(' ', "")
}

impl<const MIN: u64, const MAX: u64> FromStr for Period<MIN, MAX> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let range = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
        match humantime::parse_duration(text) {
            // A bare 0 passes there.
            Ok(duration) if range.contains(&duration) && text.ends_with(char::is_alphabetic) => {
                Ok(Self(duration))
            }
            _ => Err(Expected::new(Self::allowed())),
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Period<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&text(self.0))
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Period<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Period<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, &Self::allowed())
    }
}
