//! Parses and builds the bytes of the network and of netlink; no I/O.
//!
//! No input makes a parser panic: malformed input is an error, or ends an iteration.

#![cfg_attr(
    not(feature = "lab"),
    allow(dead_code, reason = "traces and the lab read more of a packet than a saved SYN needs")
)]

pub(crate) mod bytes;
pub(crate) mod checksum;
mod ip;
pub(crate) mod netlink;
mod quote;
mod tcp;
mod tcp_option;

pub(crate) use ip::IpHeader;
pub(crate) use quote::{ChecksumFit, QuotedSegment};
#[cfg(feature = "capture")]
pub(crate) use tcp::TcpFlags;
pub(crate) use tcp::{PROTOCOL_TCP, TcpHeader};
#[cfg(feature = "lab")]
pub(crate) use tcp_option::TcpOption;
pub(crate) use tcp_option::TcpOptions;
pub use tcp_option::{FastOpenKind, FastOpenOption};
