//! `tfo-client path`, as users run it: in the lab, among the kernel's own routers, and where nothing answers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "figures that a test measures")]

mod boxes;
#[path = "../probe/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the probe")]
mod harness;
mod output;
mod paths;
mod routers;
mod wire;

use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

/// The number of labs that run at the same time. Most of them wait most of the time.
const AT_ONCE: usize = 4;

/// `tfo-client path --lab` with these arguments, separated by blanks.
fn lab(arguments: &str) -> Output {
    let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    command.args(["-q", "path", "--lab"]).args(arguments.split_whitespace()).output().unwrap()
}

fn document(arguments: &str) -> Value {
    let output = lab(&format!("{arguments} -o json"));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{arguments}: {e}: {output:?}"))
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The faults of a document, or its changes: "dropped cookie-and-data 3-4".
fn told(document: &Value, field: &str) -> Vec<String> {
    let faults = document[field].as_array().unwrap().iter();
    let mut told: Vec<String> = faults
        .map(|fault| {
            let word = |field: &str| fault[field].as_str().unwrap().to_owned();
            let (kind, syn) = (word("kind"), word("syn"));
            format!("{kind} {syn} {}-{}", fault["after_hop"], fault["before_hop"])
        })
        .collect();
    told.sort();
    told
}

/// Runs labs side by side, and collects what is wrong with each.
fn all<T: Send>(cases: Vec<T>, check: impl Fn(&T) -> Vec<String> + Sync) -> Vec<String> {
    let count = cases.len();
    let (cases, wrong) = (Mutex::new(cases), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                loop {
                    let Some(case) = cases.lock().unwrap().pop() else { return };
                    // A machine that is too busy for the path's times gets a second chance.
                    let found = Some(check(&case)).filter(|wrong| !wrong.is_empty());
                    let found = found.map(|_| check(&case)).unwrap_or_default();
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}
