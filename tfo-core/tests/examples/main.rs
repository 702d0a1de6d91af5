//! The examples work as documented.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::env;
use std::process::Command;

use tfo_core::lab::{Host, Program, isolated};

/// An example as built by cargo, next to the folder of the tests.
fn example(name: &str, arguments: &[&str]) -> Command {
    let tests = env::current_exe().expect("this binary's path");
    let folder = tests.ancestors().nth(2).expect("target/PROFILE").join("examples");
    let program = folder.join(name);
    assert!(program.exists(), "`cargo test -p tfo-core` builds the examples");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn output(host: &Host, name: &str, arguments: &[&str]) -> String {
    let output = host.output(example(name, arguments)).expect("it starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

const SERVER: &str = "127.0.0.1:2222";

#[test]
fn client_saves_a_round_trip_and_server_reports_it() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let server = Program::start(&host, example("echo_server", &[SERVER])).unwrap();
        let _ = server.out().expect(&["listening"]);
        let first = output(&host, "echo_client", &[SERVER, "hello"]);
        assert!(first.contains("answer: hello") && first.contains("saved: false"), "{first}");
        let second = output(&host, "echo_client", &[SERVER, "hello"]);
        assert!(second.contains("the SYN took 5 bytes"), "{second}");
        assert!(second.contains("saved: true"), "{second}");
        let _ = server.out().expect(&["brought 5 bytes, delivered before"]);
    });
}

#[test]
fn probe_reports_verdicts_of_a_std_listener() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let server = Program::start(&host, example("std_listener", &[SERVER])).unwrap();
        let _ = server.out().expect(&["listening"]);
        let text = output(&host, "probe", &[SERVER]);
        let verdicts = ["1  cookie-granted: ", "2  fast-open: ", "3  fast-open: "];
        assert!(verdicts.iter().all(|verdict| text.contains(verdict)), "{text}");
        let _ = server.out().expect(&["data from its SYN: true"]);
    });
}

#[test]
fn any_socket_gets_fast_open_in_one_line() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let text = output(&host, "any_socket", &[]);
        // The first connection of all fetches the cookie, which is of the address.
        let rode = |name| text.matches(&format!("{name}: data in the SYN: true")).count();
        assert_eq!(["std", "socket2", "mio", "tokio"].map(rode), [1, 2, 2, 2], "{text}");
    });
}

#[test]
fn dialer_saves_a_round_trip() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let server = Program::start(&host, example("std_listener", &[SERVER])).unwrap();
        let _ = server.out().expect(&["listening"]);
        let text = output(&host, "dialer", &[SERVER]);
        assert_eq!(text.matches("SYN data accepted: true").count(), 2, "{text}");
        assert!(!text.contains("regular connections"), "{text}");
    });
}

#[test]
fn the_lab_shows_what_a_box_does() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let text = output(&host, "lab", &[]);
        let found = ["as it is: fast-open: ", "with a box: fallback: ", "strip-syn-option"];
        assert!(found.iter().all(|found| text.contains(found)), "{text}");
    });
}

#[test]
fn hyper_and_axum_use_fast_open() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let text = output(&host, "web", &[]);
        let verdicts: Vec<_> = text.lines().filter_map(|line| line.split(": ").nth(1)).collect();
        assert_eq!(verdicts, ["cookie-granted", "fast-open", "fast-open"], "{text}");
    });
}
