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
pub struct PacketPath {
    /// Which way it went.
    pub direction: Direction,
    /// As it left its sender. `None`: it was not seen there, or no host sent it.
    pub sent: Option<Sighting>,
    /// As it reached the other host. `None`: it was not seen there, or never did.
    pub arrived: Option<Sighting>,
    /// What became of it.
    pub delivery: Delivery,
    /// What the path did to it, in order.
    pub modifications: Vec<Modification>,
}

/// A packet, seen at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// When: the time since 1970 by the kernel's clock (`CLOCK_REALTIME`).
    pub at: Duration,
    /// The frame, from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
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
pub struct Modification {
    /// The box that did it, by its name.
    pub by: &'static str,
    /// What it did, in a few words, such as `dropped` or `option 34 overwritten with NOPs`.
    pub what: String,
}

impl PacketPath {
    /// A packet on its way, seen where it was sent.
    #[must_use]
    pub fn sent(direction: Direction, sighting: Sighting) -> Self {
        Self {
            direction,
            sent: Some(sighting),
            arrived: None,
            delivery: Delivery::Unknown,
            modifications: Vec::new(),
        }
    }

    /// A packet that no host sent: the path made it.
    #[must_use]
    pub fn forged(direction: Direction) -> Self {
        Self {
            direction,
            sent: None,
            arrived: None,
            delivery: Delivery::Unknown,
            modifications: Vec::new(),
        }
    }

    /// A packet that was seen where it arrived.
    #[must_use]
    pub fn arrived(direction: Direction, sighting: Sighting) -> Self {
        Self {
            direction,
            sent: None,
            arrived: Some(sighting),
            delivery: Delivery::Arrived,
            modifications: Vec::new(),
        }
    }
}

impl Sighting {
    /// A packet, seen at this time.
    #[must_use]
    pub fn new(at: Duration, frame: Vec<u8>) -> Self {
        Self { at, frame }
    }
}

impl Modification {
    /// Something that a box did.
    #[must_use]
    pub fn new(by: &'static str, what: impl Into<String>) -> Self {
        Self { by, what: what.into() }
    }
}
