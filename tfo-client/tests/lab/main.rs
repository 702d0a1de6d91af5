//! `tfo-client lab`, as users run it: the built program, in namespaces that it creates itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod boxes;
#[path = "../probe/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the probe")]
mod harness;
mod output;
mod program;

use std::process::{Command, Output};

use serde_json::Value;

/// Runs `tfo-client lab` with these arguments, separated by blanks.
fn lab(arguments: &str) -> Output {
    let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    command.args(["-q", "lab"]).args(arguments.split_whitespace()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn document(arguments: &str) -> Value {
    let output = lab(&format!("{arguments} -o json"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}
