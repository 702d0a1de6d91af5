//! Packets as they pass between two hosts, and pictures of them.

mod crossing;
mod trace;

pub use crossing::{Crossing, Deed, Direction, Fate, Sight};
pub use trace::Trace;
