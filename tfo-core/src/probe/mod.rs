//! Collects the evidence around a connection: what the host says before and after, and what the
//! socket says in between.
//!
//! [`Probe`] makes a connection and watches it from the client's side; [`ServerObserver`] watches
//! what a listener accepts. [`Series`] adds what the connections of one run say together. None of them judges:
//! [`diagnosis`](crate::diagnosis) does.

mod client;
mod dialogue;
#[cfg(feature = "serde")]
pub mod mirror;
mod series;
#[cfg(feature = "serde")]
mod serve;
mod server;

pub use client::{Observation, Probe, Timing};
pub use dialogue::{Dialogue, Next};
pub use series::Series;
#[cfg(feature = "serde")]
pub use serve::serve_mirror;
pub use server::ServerObserver;
