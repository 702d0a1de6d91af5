//! `tfo-client compare`: measures how much time fast open saves, compared with regular connections on the same path.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command: measures one target after another |
//! | `report/` | prints the results, and writes them to files |
//! | `comparison` | the result for one target |
//! | `measure` | makes the connections |
//! | `analysis/`, `statistics/` | derive an answer from the samples |
//! | `job`, `tls`, `dns`, `reply` | the request and the reply of each connection |
//! | `sample` | the times and the verdict of a connection |
//! | `targets` | reads the file of `--targets` |
//! | `arguments`, `settings` | the flags, and the settings that they describe |

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
