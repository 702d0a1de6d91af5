//! The kinds of SYN that are sent.

use std::fmt;

/// A kind of SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SynKind {
    /// A regular SYN: the control.
    Plain,
    /// A request for a cookie: the option without one.
    Request,
    /// A cookie, and no data.
    Cookie,
    /// A cookie and data: fast open itself.
    CookieAndData,
    /// Data, and no option.
    Data,
}

impl SynKind {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 5] =
        [Self::Plain, Self::Request, Self::Cookie, Self::CookieAndData, Self::Data];

    /// The word, as it is in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Request => "request",
            Self::Cookie => "cookie",
            Self::CookieAndData => "cookie-and-data",
            Self::Data => "data",
        }
    }

    /// Returns the name of such SYNs in a sentence.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Plain => "regular SYNs",
            Self::Request => "SYNs that ask for a cookie",
            Self::Cookie => "SYNs with a cookie and without data",
            Self::CookieAndData => "SYNs with a cookie and data",
            Self::Data => "SYNs with data and without the option",
        }
    }

    /// Whether it carries data.
    #[must_use]
    pub const fn has_data(self) -> bool {
        matches!(self, Self::CookieAndData | Self::Data)
    }

    /// Whether it carries the fast open option.
    #[must_use]
    pub const fn has_option(self) -> bool {
        matches!(self, Self::Request | Self::Cookie | Self::CookieAndData)
    }

    /// Whether it carries a cookie.
    #[must_use]
    pub const fn has_cookie(self) -> bool {
        matches!(self, Self::Cookie | Self::CookieAndData)
    }
}

impl fmt::Display for SynKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
