//! `tfo-client compare`: what fast open saves against regular connections on the same path.
//!
//! - [`job`]: what each connection does, with [`tls`], [`dns`] and [`reply`] for the protocols.
//! - [`measure`]: makes the connections; [`sample`]: what is kept of each.
//! - [`analysis`]: from samples to an answer, by [`statistics`].
//! - [`targets`]: the file of `--targets`.

mod analysis;
mod arguments;
mod dns;
mod job;
mod measure;
mod reply;
mod report;
mod run;
mod sample;
mod statistics;
mod targets;
mod tls;

pub(crate) use arguments::CompareFlags;
pub(crate) use run::run;
