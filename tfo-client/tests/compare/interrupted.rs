//! Ctrl-C, which prints the results so far.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use tfo_core::lab::{Host, Program, isolated};

use super::{among_others, command, only, schema};

#[test]
fn first_signal_ends_the_measurement_with_a_report() {
    let _others = among_others();
    isolated(|| {
        let host = Host::new("outside").unwrap();
        let program = Program::start(&host, command("--lab --rtt 5ms -n 100000 -o json")).unwrap();
        // Progress is shown only on a terminal, so the test can only wait.
        thread::sleep(Duration::from_millis(1500));
        // As `timeout` does, to the process and to its group.
        program.signal_burst("INT", 5).unwrap();
        let ended = program.finish();
        let document: Value =
            serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
        schema::assert_valid(&document);
        let found = only(&document);
        assert_eq!(found["interrupted"], true, "{found}");
        let samples = found["samples"].as_array().unwrap();
        assert!(samples.len() < 200_000 && samples.len().is_multiple_of(2), "whole pairs");
        assert!(ended.code.is_some(), "the signal did not end it");
    });
}
