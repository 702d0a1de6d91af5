//! The access log: one line for each connection that has ended, and the totals at the end.

mod lines;
mod printer;
mod trace;

pub(crate) use lines::{ConnectionEntry, Totals};
pub(crate) use printer::AccessLog;
pub(crate) use trace::Tracer;
