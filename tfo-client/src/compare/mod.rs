//! `tfo-client compare`: what fast open saves against regular connections on the same path.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command: one target after another |
//! | `report/` | prints and writes |
//! | `comparison` | what became of a target |
//! | `measure` | makes the connections |
//! | `analysis/`, `statistics/` | from samples to an answer |
//! | `job`, `tls`, `dns`, `reply` | what each connection does |
//! | `sample` | what is kept of each connection |
//! | `targets` | the file of `--targets` |
//! | `arguments`, `settings` | the flags, and what they say |

mod analysis;
mod arguments;
mod comparison;
mod dns;
mod job;
mod measure;
mod reply;
mod report;
mod run;
mod sample;
mod settings;
mod statistics;
mod targets;
mod tls;

pub(crate) use arguments::CompareFlags;
#[cfg(test)]
pub(crate) use report::CompareDocument;
pub(crate) use run::run;
