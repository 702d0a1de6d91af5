//! What the program does: one file a subcommand.

pub(crate) mod compare;
pub(crate) mod cookies;
pub(crate) mod doctor;
pub(crate) mod explain;
mod interruption;
pub(crate) mod lab;
mod listen;
pub(crate) mod load;
pub(crate) mod probe;
mod target;
mod trace;
