//! What the program does: one file a subcommand.

mod listen;
pub(crate) mod probe;
mod target;
