//! `tfo-client load`: many connections, their verdicts, and how long they took.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command: its threads |
//! | `report` | prints progress and results; `text` for people, `document` for programs |
//! | `results` | what a run amounts to: limits, exit status |
//! | `worker` | one thread's event loop |
//! | `start_timer` | wakes it for the next start |
//! | `tally` | what is counted |
//! | `cookies` | was a cookie granted to this source address? |
//! | `schedule` | when does a thread start its next connection? |
//! | `plan` | what does a connection send, how, from where? |
//! | `reply` | is the reply complete, and right? |
//! | `connection_error` | why a connection did not get its reply |
//! | `arguments`, `settings` | the flags, and what they say |

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
