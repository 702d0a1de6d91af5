//! `tfo-client path`: which hop of the path breaks fast open. Needs no privilege.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command, on this host or in the lab |
//! | `exploration` | from end to end, then hop by hop |
//! | `result` | what to explore, and what was found |
//! | `finding` | what was found, in sentences, and what to do |
//! | `text` | the report for people |
//! | `document` | the report for programs |
//! | `markdown` | the report for those who run the network there |
//! | `arguments` | the flags |

mod arguments;
mod document;
mod exploration;
mod finding;
mod markdown;
mod result;
mod run;
mod text;

pub(crate) use arguments::PathFlags;
#[cfg(test)]
pub(crate) use document::PathDocument;
pub(crate) use run::run;
