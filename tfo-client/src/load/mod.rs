//! `tfo-client load`: many connections, their verdicts, and how long they took.
//!
//! | file | question |
//! | --- | --- |
//! | `plan` | what does a connection send, how, from where, and what is its reply? |
//! | `schedule` | when does a thread start its next one? |
//! | `reply` | is the reply complete, and right? |
//! | `worker` | one thread's event loop |
//! | `cookies` | was a cookie granted to this source address? |
//! | `tally` | what is counted |

mod arguments;
mod cookies;
mod failure;
mod plan;
mod reply;
mod report;
mod run;
mod schedule;
mod tally;
mod worker;

pub(crate) use arguments::LoadFlags;
pub(crate) use run::run;
