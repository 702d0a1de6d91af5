//! `tfo-client [probe]`: connect a few times, say what happened, and why.

mod arguments;
pub(crate) mod document;
mod listen;
pub(crate) mod report;
mod run;
mod text;

pub(crate) use arguments::ProbeFlags;
pub(crate) use run::{connect, plan, run, status};
