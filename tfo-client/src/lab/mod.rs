//! `tfo-client lab`: two hosts and a path on this machine, and the packets that cross it.

mod arguments;
mod report;
mod run;

pub(crate) use arguments::LabFlags;
pub(crate) use run::run;
