//! One packet's way from one host to the other, as far as it was seen.

use std::time::Duration;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[allow(clippy::exhaustive_enums, reason = "a path has two ends")]
pub enum Direction {
    /// From the client.
    ToServer,
    /// From the server.
    ToClient,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// One packet's way from one host to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crossing {
    /// Which way it went.
    pub direction: Direction,
    /// As it left its sender. `None`: it was not seen there, or no host sent it.
    pub sent: Option<Sight>,
    /// As it reached the other host. `None`: it was not seen there, or never did.
    pub arrived: Option<Sight>,
    /// What became of it.
    pub fate: Fate,
    /// What the path did to it, in order.
    pub deeds: Vec<Deed>,
}

/// A packet, seen at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sight {
    /// When: the time since 1970 by the kernel's clock (`CLOCK_REALTIME`).
    pub at: Duration,
    /// The frame, from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// It reached the other host.
    Arrived,
    /// The path dropped it.
    Dropped,
    /// It was seen at one place only.
    Unknown,
}

/// What the path did to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deed {
    /// The box that did it, by its name.
    pub by: &'static str,
    /// What it did, in a few words, such as `dropped` or `option 34 overwritten with NOPs`.
    pub what: String,
}

impl Crossing {
    /// A packet on its way, seen where it was sent.
    #[must_use]
    pub fn sent(direction: Direction, sight: Sight) -> Self {
        Self { direction, sent: Some(sight), arrived: None, fate: Fate::Unknown, deeds: Vec::new() }
    }

    /// A packet that no host sent: the path made it.
    #[must_use]
    pub fn forged(direction: Direction) -> Self {
        Self { direction, sent: None, arrived: None, fate: Fate::Unknown, deeds: Vec::new() }
    }

    /// A packet that was seen where it arrived.
    #[must_use]
    pub fn arrived(direction: Direction, sight: Sight) -> Self {
        Self { direction, sent: None, arrived: Some(sight), fate: Fate::Arrived, deeds: Vec::new() }
    }
}

impl Sight {
    /// A packet, seen at this time.
    #[must_use]
    pub fn new(at: Duration, frame: Vec<u8>) -> Self {
        Self { at, frame }
    }
}

impl Deed {
    /// Something that a box did.
    #[must_use]
    pub fn new(by: &'static str, what: impl Into<String>) -> Self {
        Self { by, what: what.into() }
    }
}
