//! `tfo-client load`: makes many connections, and reports their verdicts and times.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command, and its threads |
//! | `report` | prints progress and results; `text` for people, `document` for programs |
//! | `results` | the results of a run: limits, exit status |
//! | `worker` | the event loop of one thread |
//! | `start_timer` | wakes an event loop for the next start |
//! | `tally` | counters and histograms |
//! | `cookies` | checks whether a source address was granted a cookie |
//! | `schedule` | when a thread starts its next connection |
//! | `plan` | request, expected reply, methods and source addresses of all connections |
//! | `reply` | checks whether a reply is complete and correct |
//! | `connection_error` | the reasons why connections get no reply |
//! | `arguments`, `settings` | the flags, and the settings that they describe |

mod arguments;
mod connection_error;
mod cookies;
mod document;
mod plan;
mod reply;
mod report;
mod results;
mod run;
mod schedule;
mod settings;
mod start_timer;
mod tally;
mod text;
mod worker;

pub(crate) use arguments::LoadFlags;
#[cfg(test)]
pub(crate) use document::LoadDocument;
pub(crate) use run::run;
