//! How long it takes to locate one box on a path of 10 hops and 40 ms, in the lab: `cargo bench -p tfo-client --bench path`.
//!
//! Prints, for each box, the time of the whole program, that of the survey with the connections from end to end, the number of
//! SYNs, and whether the interval is the right one.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a measurement")]

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

const BOXES: [&str; 12] = [
    "strip-syn-option",
    "strip-syn-option-34",
    "translate-source",
    "remove-syn-option",
    "overwrite-option",
    "drop-syn-option",
    "drop-syn-data",
    "strip-syn-data",
    "reset-syn-data",
    "prohibit-syn-data",
    "corrupt-cookie",
    "swallow-after-syn-data",
];
const RUNS: usize = 5;

fn main() {
    println!("10 hops, 40 ms, a box at hop 5; medians of {RUNS} runs");
    println!("{:<24} {:>9} {:>9} {:>6} {:>7}", "box", "program", "survey", "SYNs", "right");
    for name in BOXES {
        let mut runs: Vec<(Duration, u64, u64, bool)> = (0..RUNS).map(|_| run(name)).collect();
        runs.sort_unstable();
        let (program, survey, syns, _) = runs[RUNS / 2];
        let right = runs.iter().filter(|run| run.3).count();
        println!(
            "{name:<24} {:>7.2} s {:>7.2} s {syns:>6} {right:>4}/{RUNS}",
            program.as_secs_f64(),
            Duration::from_micros(survey).as_secs_f64()
        );
    }
}

fn run(name: &str) -> (Duration, u64, u64, bool) {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_tfo-client"))
        .args(["-q", "path", "--lab", "--hops", "10", "--rtt", "40ms", "-o", "json", "--hop"])
        .arg(format!("5:{name}"))
        .output()
        .expect("the program runs");
    let took = start.elapsed();
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let faults = document["faults"].as_array().unwrap();
    let right = !faults.is_empty()
        && faults.iter().all(|fault| fault["after_hop"] == 5 && fault["before_hop"] == 6);
    let number = |field: &str| document[field].as_u64().unwrap();
    (took, number("took_us"), number("syns"), right)
}
