//! Packets as they pass between two hosts, and pictures of them.

mod crossing;

pub use crossing::{Crossing, Deed, Direction, Fate, Sight};
