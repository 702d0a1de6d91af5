//! What became of the first bytes when they were handed over.

/// What the kernel did with the first message when it was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Attempt {
    /// The SYN took this many bytes: a cookie was cached, or none is asked for.
    InSyn(usize),
    /// Fast open was asked for, but the SYN left without data: no cookie was cached, or fast open
    /// is paused. The message went after the handshake.
    AfterHandshake,
    /// A regular `connect`, on purpose.
    Regular,
    /// The kernel refused fast open (`EOPNOTSUPP`: the client's bit is off); the same descriptor
    /// then made a regular connection.
    ClientDisabled,
}
