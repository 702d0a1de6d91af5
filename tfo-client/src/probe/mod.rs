//! `tfo-client [probe]`: connects a few times, and reports what happened and why.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command |
//! | `report` | prints the results as connections end; `text` for people, `document` for programs |
//! | `results` | the results of all connections |
//! | `connection` | makes one connection and judges it |
//! | `listen` | `--listen` |
//! | `arguments` | the flags |

mod arguments;
mod connection;
mod document;
mod listen;
mod report;
mod results;
mod run;
mod text;

pub(crate) use arguments::ProbeFlags;
pub(crate) use connection::{ProbedConnection, connect, plan};
#[cfg(test)]
pub(crate) use document::ProbeDocument;
pub(crate) use document::{ConnectionEntry, entry};
pub(crate) use results::exit_status;
pub(crate) use run::run;
