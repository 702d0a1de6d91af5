//! What is printed and written, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::lab::{Host, Program, SERVER_V4, isolated, join};

use super::{document, harness, lab, text};

#[test]
fn table_and_sentences_fit_a_terminal() {
    let output = lab("--hops 5 --hop 3:drop-syn-data --rtt 10ms");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for piece in [
        "End to end: fallback (syn-retransmitted)",
        "   4  203.0.113.4",
        "silent",
        "SYN-ACK",
        "SYNs with data disappear: 0",
        "Next: The lab was asked for this: `--hop 3:drop-syn-data`. See the same path",
        "`tfo-client path --lab --rtt 10ms --hops 5`",
    ] {
        assert!(text.contains(piece), "{piece:?} is missing:\n{text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 80 || line.contains('`'), "{line}");
    }
    assert!(!text.contains('\u{1b}'), "a pipe gets no colour");
}

#[test]
fn name_without_an_address_gets_a_document_too() {
    let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    let output = command.args(["path", "host.invalid", "-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../schema/path.json")).unwrap();
    assert!(jsonschema::is_valid(&schema, &document), "{document:#}");
    assert!(document["target"]["address"].is_null(), "{document:#}");
    let error = document["error"].as_str().unwrap();
    assert!(error.starts_with("no address for host.invalid: "), "{error}");
}

#[test]
fn documents_are_as_the_schema_describes() {
    let schema: Value = serde_json::from_str(include_str!("../../schema/path.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for arguments in [
        "--hops 3 --rtt 5ms",
        "--hops 4 --hop 2:strip-syn-option --hop 3:clamp-mss --rtt 5ms --all",
        "--hops 4 --hop 2:reset-syn-data --rtt 5ms -6",
        "--hops 4 --hop 2:proxy --rtt 5ms",
        "--hops 4 --hop 2:mtu=1300 --rtt 5ms --all",
    ] {
        let document = document(arguments);
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{arguments}: {errors:?} in {document:#}");
    }
}

#[test]
fn report_names_hops_and_hides_cookies() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("report.md");
    let output =
        lab(&format!("--hops 4 --hop 2:strip-syn-data --rtt 5ms --report {}", file.display()));
    assert_eq!(output.status.code(), Some(1));
    let report = fs::read_to_string(file).unwrap();
    for piece in [
        "203.0.113.2",
        "Between hop 2",
        "no data",
        "22 0a xx xx xx",
        "\ntfo-client path --lab --rtt 5ms --hops 4 --hop 2:strip-syn-data --all\n",
    ] {
        assert!(report.contains(piece), "{piece:?} is missing:\n{report}");
    }
}

#[test]
fn flags_of_the_lab_need_it() {
    let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    let output = command.args(["path", "--hops", "3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    for arguments in ["--hops 31", "--hops 2 --hop 3:silent", "--hop 2:nonsense", "example.org"] {
        assert_eq!(lab(arguments).status.code(), Some(2), "{arguments}");
    }
}

#[test]
fn interruption_shows_the_result_so_far() {
    let rules: Vec<String> = (1..=9).map(|hop| format!("--hop {hop}:rate-limit")).collect();
    let arguments =
        format!("--hops 9 {} --hop 4:drop-syn-data --rtt 200ms --all -o json", rules.join(" "));
    let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    command.args(["-v", "path", "--lab"]).args(arguments.split_whitespace());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("hop 5: ")), "it sends SYNs");
    let kill = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    log.for_each(drop);
    let output = child.wait_with_output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["interrupted"], true, "{document}");
    assert!(!document["hops"].as_array().unwrap().is_empty(), "{document}");
}

#[test]
fn path_without_icmp_is_said_to_be_one_soon() {
    let silent: Vec<String> = (1..=8).map(|hop| format!("--hop {hop}:silent")).collect();
    let silent = silent.join(" ");
    let start = Instant::now();
    let document = document(&format!("--hops 8 {silent} --hop 4:drop-syn-data --rtt 40ms"));
    let took = start.elapsed();
    let finding = document["finding"].to_string();
    assert!(finding.contains("No ICMP errors about TCP come back"), "{finding}");
    assert_eq!(document["end_to_end"]["cause"], "syn-retransmitted", "from both ends");
    // A second of it is the connection from end to end.
    println!("\nMEASURED: a path without ICMP: {took:.1?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn nobody_answers_and_the_status_says_so() {
    isolated(|| {
        let (client, server) = (Host::new("client").unwrap(), Host::new("server").unwrap());
        join(&client, &server).unwrap();
        let run = |target: String| {
            let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
            command.args(["-q", "path", &target]);
            Program::start(&client, command).unwrap().finish()
        };
        let closed = run(format!("{SERVER_V4}:9"));
        assert_eq!(closed.code, Some(0), "the host answers: {}{}", closed.out, closed.err);
        let nowhere = run("198.51.100.7:9".to_owned());
        assert_eq!(nowhere.code, Some(3), "{}{}", nowhere.out, nowhere.err);
    });
}
