//! The access log: one line for each connection that has ended, and the totals at the end.

mod entry;
mod log;
mod totals;
mod trace;

pub(crate) use entry::ConnectionEntry;
pub(crate) use log::AccessLog;
pub(crate) use totals::TotalsEntry;
pub(crate) use trace::Tracer;
