//! Support code of the tests that run the program.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

mod lab;
mod process;
#[path = "../../../tfo-core/tests/support/program.rs"]
pub(crate) mod program;

use program::Program;

pub(crate) const PROGRAM: Program = Program {
    path: env!("CARGO_BIN_EXE_tfo-server"),
    name: "tfo-server",
    config: "config/server.toml",
    shipped: include_str!("../../../config/server.toml"),
    prefix: "TFO_SERVER",
    table: "listen",
};

pub(crate) use lab::{Lab, ONE_WORKER, SERVER, answer, ask, json, pattern};
pub(crate) use process::{descriptors, memory, peak_memory, raise_descriptors, until};
pub(crate) use program::{Folder, assert_help, clean, output, refused};
