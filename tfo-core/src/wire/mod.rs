//! Bytes as they cross the network and netlink, parsed and built; no I/O.
//!
//! No input makes a parser panic: what does not fit is an error or ends an iteration.

pub(crate) mod bytes;
#[cfg(feature = "lab")]
pub(crate) mod checksum;
mod ip;
pub(crate) mod netlink;
mod tcp;
mod tcp_option;

pub(crate) use tcp::PROTOCOL_TCP;

pub use ip::IpHeader;
pub use tcp::{TcpFlags, TcpHeader};
pub use tcp_option::{
    FastOpenKind, FastOpenOption, MalformedOption, TcpOption, TcpOptions, option_name,
};
