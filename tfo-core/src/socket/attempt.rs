//! What the kernel did with the first bytes of a connection.

/// What the kernel did with the first message of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Attempt {
    /// The SYN carried this many bytes: a cookie was cached, or none is needed.
    InSyn(usize),
    /// Fast open was requested, but the SYN left without data: no cookie was cached, or fast open is paused. The
    /// message was sent after the handshake.
    AfterHandshake,
    /// A regular `connect`, on purpose.
    Regular,
    /// A regular `connect`, because fast open has failed towards this destination: a
    /// [`PathMemory`](crate::dialer::PathMemory) pauses it.
    Paused,
    /// The kernel refused fast open (`EOPNOTSUPP`: the client's bit is off), and the same file descriptor made a
    /// regular connection.
    ClientDisabled,
}
