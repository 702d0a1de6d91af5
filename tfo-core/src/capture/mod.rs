//! Packets as they pass between two hosts, and pictures of them.
//!
//! | for | use |
//! | --- | --- |
//! | a packet in words | [`describe`], or a [`Describer`] for a whole connection |
//! | a picture of a connection, as text or SVG | [`Ladder`] |
//! | the packets of each connection | [`connections`] |
//! | what its handshake says about fast open | [`Handshake`] |
//! | a file for Wireshark | [`pcapng`] |

mod connections;
mod describe;
#[cfg(test)]
mod fixture;
mod frame;
mod handshake;
mod ladder;
mod packet_path;
pub mod pcapng;
mod trace;

pub use connections::connections;
pub use describe::{Describer, Description, describe};
pub use handshake::{Handshake, SynAck};
pub use ladder::{Ladder, TextStyle};
pub use packet_path::{Delivery, Direction, Modification, PacketPath, Sighting};
pub use trace::Trace;
