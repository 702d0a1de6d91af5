//! `tfo-client cookies`: what the kernel remembers of other hosts, and how to make it forget.

mod arguments;
mod report;
mod run;

pub(crate) use arguments::CookiesFlags;
pub(crate) use run::run;
