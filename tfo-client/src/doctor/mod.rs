//! `tfo-client doctor`: what this host allows and does. Changes nothing.

mod arguments;
mod report;
mod run;

pub(crate) use arguments::DoctorFlags;
pub(crate) use run::run;
