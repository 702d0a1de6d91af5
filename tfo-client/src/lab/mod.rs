//! `tfo-client lab`: two hosts and a path on this machine, and the packets that cross it.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command: the probe in the lab's network, or a program |
//! | `report` | prints as the connections end; `text` for people, `document` for programs |
//! | `results` | what the connections amount to |
//! | `next_step` | what to do next, in the lab |
//! | `arguments` | the flags |

mod arguments;
mod document;
mod next_step;
mod report;
mod results;
mod run;
mod text;

pub(crate) use arguments::LabFlags;
pub(crate) use run::run;
