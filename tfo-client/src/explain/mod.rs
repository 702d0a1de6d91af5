//! `tfo-client explain [VERDICT|CAUSE]`: a page of the manual.

mod arguments;
mod report;
mod run;

pub(crate) use arguments::ExplainFlags;
pub(crate) use run::run;
