//! The lab's network and its servers, in which `lab` and `compare --lab` run.

mod arguments;
mod served;

pub(crate) use arguments::{NetworkFlags, Share};
pub(crate) use served::{NetworkSettings, ServedNetwork};
