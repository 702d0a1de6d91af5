use clap::{ValueEnum, builder::PossibleValue};

use super::{Expected, expected_one_of};

/// Returns the names of all values, in order.
#[must_use]
pub fn names<T: ValueEnum>() -> Vec<String> {
    possible_values::<T>().iter().map(|value| value.get_name().to_owned()).collect()
}

/// Returns the values with their names, for completions.
#[must_use]
pub fn possible_values<T: ValueEnum>() -> Vec<PossibleValue> {
    T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect()
}

/// Returns the value of a name: `value_parser = named::<Mode>` for a flag.
///
/// # Errors
/// If no value has the name: the names, and the one that is most similar.
pub fn named<T: ValueEnum>(text: &str) -> Result<T, Expected> {
    T::from_str(text, false).map_err(|_| {
        let names = names::<T>();
        expected_one_of(&names.iter().map(String::as_str).collect::<Vec<_>>(), text)
    })
}

/// Returns all values with their names.
#[doc(hidden)]
#[must_use]
pub fn named_values<T: ValueEnum>() -> Vec<(T, PossibleValue)> {
    let with_name = |value: &T| Some((value.clone(), value.to_possible_value()?));
    T::value_variants().iter().filter_map(with_name).collect()
}

/// Makes an enum a setting, whose names in flags, variables and files are those of `clap::ValueEnum`. A flag needs
/// [`named`](crate::cli::value::named) as its `value_parser`.
///
/// ```
/// use clap::ValueEnum;
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
/// enum Speed {
///     #[default]
///     Slow,
///     VeryFast,
/// }
/// tfo_core::choice!(Speed);
///
/// assert_eq!("very-fast".parse(), Ok(Speed::VeryFast));
/// assert_eq!("now".parse::<Speed>().unwrap_err().to_string(), "expected `slow` or `very-fast`");
/// assert_eq!(Speed::default().to_string(), "slow");
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! choice {
    ($($name:ident),+) => { $(
        impl $name {
            /// Returns the name in flags, variables and files.
            #[must_use]
            #[allow(dead_code, reason = "not every program needs it")]
            pub(crate) fn name(self) -> &'static str {
                type Named = ($name, $crate::cli::clap::builder::PossibleValue);
                static VALUES: ::std::sync::LazyLock<Vec<Named>> =
                    ::std::sync::LazyLock::new($crate::cli::value::named_values);
                let named = VALUES.iter().find(|(value, _)| *value == self);
                named.map_or("", |(_, name)| name.get_name())
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::cli::Expected;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                $crate::cli::value::named(text)
            }
        }

        $crate::as_text!($name, &{
            let names = $crate::cli::value::names::<$name>();
            $crate::cli::value::one_of(&names.iter().map(String::as_str).collect::<Vec<_>>())
        });
    )+ };
}

/// How a program prints its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum)]
#[allow(clippy::exhaustive_enums, reason = "both programs match on every format")]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs.
    Json,
}

choice!(Format);
