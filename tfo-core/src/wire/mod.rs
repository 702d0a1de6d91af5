//! Bytes as they cross the network and netlink, parsed and built; no I/O.
//!
//! No input makes a parser panic: what does not fit is an error or ends an iteration.

mod ip;
mod netlink;
mod tcp;
mod tcp_option;

pub use tcp_option::FastOpenKind;
