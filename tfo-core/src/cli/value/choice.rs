/// An enum whose variants have names in flags, variables and files: one list for all of them.
///
/// ```
/// tfo_core::choice! {
///     /// How fast to go.
///     #[derive(Default)]
///     pub enum Speed {
///         /// In no hurry.
///         #[default]
///         Slow = "slow",
///         /// At once.
///         Fast = "fast",
///     }
/// }
/// assert_eq!("fast".parse(), Ok(Speed::Fast));
/// assert_eq!("now".parse::<Speed>().unwrap_err().to_string(), "expected `slow` or `fast`");
/// assert_eq!(Speed::default().to_string(), "slow");
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_attribute:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl $name {
            /// The names, in order.
            $visibility const NAMES: &'static [&'static str] = &[$($text),+];

            /// The name in flags, variables and files.
            #[must_use]
            $visibility const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::cli::Expected;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::cli::value::expected_one_of(Self::NAMES, text)),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl $crate::cli::serde::Serialize for $name {
            fn serialize<S: $crate::cli::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> $crate::cli::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::cli::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                let what = $crate::cli::value::one_of(Self::NAMES);
                $crate::cli::value::from_text(deserializer, &what)
            }
        }
    };
}

choice! {
    /// How a program prints its data.
    #[derive(Default)]
    #[allow(clippy::exhaustive_enums, reason = "both programs match on every format")]
    pub enum Format {
        /// For people.
        #[default]
        Text = "text",
        /// For programs.
        Json = "json",
    }
}
