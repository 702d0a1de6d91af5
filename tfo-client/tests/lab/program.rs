//! Programs that run on the lab's hosts.

use std::process::Command;

use tfo_core::lab::{isolated, require};

use super::{errors, harness, lab, text};

#[test]
fn ladder_shows_the_packets_of_curl() {
    if !require("curl") {
        return;
    }
    isolated(|| {
        let url = "http://192.0.2.2:2222/";
        // The first request fetches the cookie that the second one uses.
        let twice = format!("curl -sS --tcp-fastopen {url} && curl -sS --tcp-fastopen {url}");
        let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
        let output = command
            .args(["-q", "lab", "--rtt", "10ms", "--", "sh", "-c", &twice])
            .output()
            .unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        assert!(text.contains("\"token\":\"http\""), "curl printed the mirror's answer:\n{text}");
        assert!(text.contains("SYN, TFO request"), "{text}");
        assert!(text.contains("SYN, cookie 8 B, "), "{text}");
        assert!(text.contains("SYN-ACK, acks the data"), "{text}");
    });
}

#[test]
fn each_connection_of_a_program_has_a_verdict() {
    isolated(|| {
        let probe = concat!(env!("CARGO_BIN_EXE_tfo-client"), " -q -s 192.0.2.2 -n");
        let five = text(&lab(&format!("--rtt 5ms -- {probe} 5")));
        assert_eq!(five.matches(" client 192.0.2.1").count(), 3, "the first ones: {five}");
        assert!(five.contains("\ncookie-granted\nThe SYN asked for a cookie, and the "), "{five}");
        assert!(five.contains("\nfast-open\nThe SYN-ACK acknowledged all of the 64 B "), "{five}");
        assert!(five.contains("\n5 connections: 1 cookie-granted, 4 fast-open.\n"), "{five}");

        let dropped = format!("--rtt 5ms --box drop-syn-data -- {probe} 2");
        let dropped = text(&lab(&dropped));
        assert!(dropped.contains("1 cookie-granted, 1 fallback (syn-retransmitted)"), "{dropped}");

        let one = text(&lab(&format!("-o json --rtt 5ms -- {probe} 1 --mode off")));
        assert!(one.contains("\n      \"verdict\": \"not-attempted\",\n"), "{one}");
    });
}

#[test]
fn exit_status_of_the_program_is_returned() {
    isolated(|| {
        let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
        let output = command.args(["lab", "--", "sh", "-c", "exit 7"]).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", errors(&output));
        let output = lab("-- /nowhere/program");
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains("/nowhere/program"), "{}", errors(&output));
    });
}

#[test]
fn program_runs_on_the_given_host() {
    isolated(|| {
        let output = lab("--on server -- cat /proc/net/tcp6");
        // The mirror listens on port 2222, which is 08AE in hexadecimal.
        assert!(text(&output).contains(":08AE "), "{}", text(&output));
        let output = lab("--on client -- cat /proc/net/tcp6");
        assert!(!text(&output).contains(":08AE "), "{}", text(&output));
    });
}

#[test]
fn server_command_replaces_the_mirror() {
    let Some(server) = harness::server_binary() else { return };
    isolated(|| {
        let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
        let line = format!("{} -q -a 192.0.2.2 --service echo", server.display());
        let arguments = ["-q", "lab", "--rtt", "5ms", "-n", "2", "--server-command", &line];
        let output = command.args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        assert!(text(&output).contains("Verdict: fast-open"), "{}", text(&output));
        let output = {
            let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
            command.args(["lab", "--server-command", "exit 3"]).output().unwrap()
        };
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains("exited before it listened"), "{}", errors(&output));
    });
}
