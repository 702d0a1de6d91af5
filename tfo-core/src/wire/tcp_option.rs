//! TCP options.

/// Which of the two fast open options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum FastOpenKind {
    /// Kind 34, assigned by RFC 7413.
    Standard,
    /// Kind 254 with the magic number `F989` (RFC 6994), which Linux tries when 34 got no cookie.
    Experimental,
}
