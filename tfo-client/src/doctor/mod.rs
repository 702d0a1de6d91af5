//! `tfo-client doctor`: checks this host's fast open settings and state, without changing anything.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command |
//! | `report` | prints a snapshot; `text` for people, `document` for programs, `metrics` for Prometheus |
//! | `snapshot` | the state of this host at one time |
//! | `open_connection` | judges an open connection by its bits |
//! | `arguments` | the flags |

mod arguments;
mod document;
mod metrics;
mod open_connection;
mod report;
mod run;
mod snapshot;
mod text;

pub(crate) use arguments::DoctorFlags;
#[cfg(test)]
pub(crate) use document::DoctorDocument;
pub(crate) use run::run;
