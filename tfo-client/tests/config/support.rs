//! The program in a folder of its own.

#[path = "../../../tfo-core/tests/support/program.rs"]
pub(crate) mod program;

use program::Program;

pub(crate) const PROGRAM: Program = Program {
    path: env!("CARGO_BIN_EXE_tfo-client"),
    name: "tfo-client",
    config: "config/client.toml",
    shipped: include_str!("../../../config/client.toml"),
    prefix: "TFO_CLIENT",
    table: "server",
};

pub(crate) use program::{Folder, assert_help, output, refused};
