//! `tfo-client doctor`: what this host allows and does. Changes nothing.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command |
//! | `report` | prints a snapshot; `text` for people, `document` for programs, `metrics` for Prometheus |
//! | `snapshot` | what this host shows at one time |
//! | `open_connection` | what the bits of one connection say |
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
