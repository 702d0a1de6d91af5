//! `tfo-client compare`, as users run it: the built program, over paths of the lab.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../probe/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the probe")]
mod harness;
mod interrupted;
mod jobs;
mod output;
mod paths;
mod schema;
mod targets;

use std::io::Write;
use std::process::{Command, Output};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;

/// Returns the command `tfo-client compare` with these arguments, separated by blanks.
fn command(arguments: &str) -> Command {
    let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    command.args(["-q", "compare"]).args(arguments.split_whitespace());
    command
}

fn compare(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs `compare` and parses its document, which must match the schema.
fn document(arguments: &str) -> Value {
    let output = compare(&format!("{arguments} -o json"));
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    schema::assert_valid(&document);
    document
}

/// Returns the comparison for the only target.
fn only(document: &Value) -> &Value {
    assert_eq!(document["targets"].as_array().map(Vec::len), Some(1), "{document}");
    &document["targets"][0]
}

/// Excludes other tests while a test measures times.
static OTHERS: RwLock<()> = RwLock::new(());

/// Prevents other tests from running until the guard is dropped.
fn alone() -> RwLockWriteGuard<'static, ()> {
    OTHERS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no test that measures times is running, and delays such tests until the guard is dropped.
fn among_others() -> RwLockReadGuard<'static, ()> {
    OTHERS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats a measurement at most twice while `judge` rejects its times, which other load on the machine may delay.
/// `judge` asserts everything that does not depend on time.
fn retried(measure: impl Fn() -> Value, judge: impl Fn(&Value) -> Result<(), String>) {
    for again in [true, true, false] {
        match judge(&measure()) {
            Ok(()) => return,
            // `isolated` prints such lines even if the test passes.
            Err(why) if again => {
                let line = format!("MEASURED a noisy run, repeating: {why}\n");
                std::io::stderr().write_all(line.as_bytes()).unwrap();
            }
            Err(why) => panic!("three runs were rejected, the last one: {why}"),
        }
    }
}

/// Returns a number in a document.
fn number(value: &Value, pointer: &str) -> f64 {
    let found = value.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {pointer}: {value}"))
}
