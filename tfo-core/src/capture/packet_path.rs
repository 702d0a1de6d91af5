//! The way of one packet from one host to the other, as far as it was seen.

use std::time::Duration;

/// The direction of a packet.
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
    /// Returns the opposite direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// The way of one packet from one host to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketPath {
    /// The direction of the packet.
    pub direction: Direction,
    /// The packet as it left its sender. `None`: not seen there, or sent by no host.
    pub sent: Option<Sighting>,
    /// The packet as it reached the other host. `None`: not seen there, or never arrived.
    pub arrived: Option<Sighting>,
    /// Whether the packet arrived.
    pub delivery: Delivery,
    /// What the path did to it, in order.
    pub modifications: Vec<Modification>,
}

/// A packet, seen at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// The time since 1970 by the kernel's clock (`CLOCK_REALTIME`).
    pub at: Duration,
    /// The frame, from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// Whether a packet arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// The packet reached the other host.
    Arrived,
    /// The path dropped it.
    Dropped,
    /// The packet was seen at one place only.
    Unknown,
}

/// A modification of a packet by the path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Modification {
    /// The name of the box.
    pub by: &'static str,
    /// A short description, such as `dropped` or `option 34 overwritten with NOPs`.
    pub what: String,
}

impl PacketPath {
    /// Creates a packet that was seen where it was sent.
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

    /// Creates a packet that no host sent: the path created it.
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

    /// Creates a packet that was seen where it arrived.
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
    /// Creates a sighting of a packet at this time.
    #[must_use]
    pub fn new(at: Duration, frame: Vec<u8>) -> Self {
        Self { at, frame }
    }
}

impl Modification {
    /// Creates the modification that a box made.
    #[must_use]
    pub fn new(by: &'static str, what: impl Into<String>) -> Self {
        Self { by, what: what.into() }
    }
}
