//! `tfo-client lab`: connects two hosts on this machine over a configurable path, and draws their packets.
//!
//! | file | subject |
//! | --- | --- |
//! | `run` | the command: runs the probe, or a program, in the lab's network |
//! | `report` | prints the results as connections end; `text` for people, `document` for programs |
//! | `results` | the results of all connections |
//! | `observed` | the verdict on a connection of another program |
//! | `next_step` | the next step, as a lab command |
//! | `arguments` | the flags |

mod arguments;
mod document;
mod next_step;
mod observed;
mod report;
mod results;
mod run;
mod text;

pub(crate) use arguments::LabFlags;
pub(crate) use run::run;
