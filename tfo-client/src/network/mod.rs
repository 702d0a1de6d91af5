//! The lab's network and its servers: `lab` and `compare --lab` run in one.

mod arguments;
mod served;

pub(crate) use arguments::{NetworkFlags, Share};
pub(crate) use served::{NetworkSettings, ServedNetwork};
