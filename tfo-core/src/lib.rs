//! TCP Fast Open ([RFC 7413]) on Linux: sockets that keep their contract, the evidence that the
//! kernel leaves about each connection, and the verdict that follows from it.
//!
//! | you want | start at |
//! | --- | --- |
//! | a connection whose first bytes ride the SYN | [`socket::FastOpenStream`] |
//! | a listener that accepts such connections | [`socket::FastOpenListener`] |
//! | to know what happened to a connection, and why | [`probe`], [`diagnosis`] |
//! | what a verdict or a cause means, and what to do | [`diagnosis::manual`] |
//! | one socket option | [`socket::option`] |
//! | what this host allows and has seen | [`host`] |
//!
//! [RFC 7413]: https://www.rfc-editor.org/rfc/rfc7413

#[cfg(feature = "capture")]
pub mod capture;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod cookie;
pub mod diagnosis;
mod error;
pub mod host;
#[cfg(feature = "lab")]
pub mod lab;
pub mod path;
pub mod probe;
pub mod socket;
mod sys;
mod uapi;
mod wire;

pub use error::{Error, Result};

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
