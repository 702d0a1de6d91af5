//! TCP Fast Open ([RFC 7413]) on Linux: sockets that keep the contract of a socket, the evidence that the kernel leaves
//! about each connection, and the verdict that follows from it.
//!
//! ```no_run
//! use std::io::Read;
//! use tfo_core::socket::FastOpenStream;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut stream = FastOpenStream::connect("192.0.2.1:2222", b"hello\n")?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! println!("one round trip saved: {}", stream.info()?.syn_data);
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! | --- | --- |
//! | connect with the first bytes in the SYN | [`socket::FastOpenStream`] |
//! | connect so, where the path allows it, and never slower than without | [`dialer::Dialer`] |
//! | accept such connections | [`socket::FastOpenListener`] |
//! | do both with tokio, hyper, tonic or axum | `tokio`, `hyper` and `axum`: features of the same names |
//! | come from tokio-tfo, or from `setsockopt` by hand | [`guide`] |
//! | find out what happened to a connection, and why | [`probe`], [`diagnosis`] |
//! | find the hop of a path that breaks fast open | [`path`](mod@path) |
//! | look up what a verdict, cause or fault means, and what to do | [`diagnosis::manual`] |
//! | set or read one socket option | [`socket::option`] |
//! | read what this host allows and has counted | [`host`] |
//!
//! [RFC 7413]: https://www.rfc-editor.org/rfc/rfc7413

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("tfo-core supports Linux only");

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "capture")]
pub mod capture;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod cookie;
pub mod diagnosis;
pub mod dialer;
mod error;
pub mod host;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(feature = "lab")]
pub mod lab;
pub mod path;
pub mod probe;
mod prose;
pub mod socket;
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;
mod uapi;
mod wire;

pub use error::{Error, Result};

/// Compiles the README's examples.
#[cfg(all(doctest, feature = "hyper"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Guides for programs that used fast open in another way before.
#[cfg(any(doc, doctest))]
pub mod guide {
    #[doc = include_str!("../guides/from-setsockopt.md")]
    pub mod from_setsockopt {}

    #[cfg(feature = "hyper")]
    #[doc = include_str!("../guides/async.md")]
    pub mod with_tokio {}
}
