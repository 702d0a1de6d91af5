//! Text, progress, and the end by Ctrl-C.

use std::process::Command;

use tfo_core::lab::{self, Program, isolated};

use crate::harness::{Lab, clean, json};
use crate::{answer, check, count, counters, pause, serve};

#[test]
fn text_has_verdicts_times_and_cost() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let ended = lab.probe(&["-q", "load", "--count", "1000", "--concurrency", "1"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert_eq!(ended.err, "", "no progress without a terminal");
        for piece in [
            "192.0.2.2:2222: 1,000 connections in ",
            "; 1 at once, 1 thread, 64 B of first bytes each\n",
            " replies/s\n",
            "  fast-open                                       999   99.9 %\n",
            "  cookie-granted                                    1    0.1 %\n",
            "  first byte, fast open ",
            "  reply's end ",
            "  client CPU ",
        ] {
            assert!(ended.out.contains(piece), "{piece:?}\n{}", ended.out);
        }
        assert!(!ended.out.contains("error"), "{}", ended.out);
        assert!(!ended.out.contains('\x1b'), "no colour without a terminal: {}", ended.out);
    });
}

#[test]
fn ctrl_c_ends_the_run_with_its_results() {
    isolated(|| {
        let lab = Lab::new();
        let peers = serve(&lab, answer);
        let arguments = ["-q", "load", "-s", "192.0.2.2", "--duration", "1h", "-o", "json"];
        let program = Program::start(&lab.client, lab.command("", &arguments)).unwrap();
        for _ in 0..100 {
            peers.recv().unwrap();
        }
        // As `timeout` does, to the process and to its group.
        program.signal_burst("INT", 5).unwrap();
        let ended = program.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let document = json(&ended.out);
        check(&document);
        let load = &document["load"];
        assert_eq!(load["interrupted"], true, "{load:#}");
        assert!(load["connections"]["replies"].as_u64().unwrap() >= 50, "{load:#}");
        let active = counters(&lab).active;
        let open = load["connections"]["unfinished"].as_u64().unwrap();
        assert!(
            (active - open.min(active)..=active).contains(&count(load, "fast-open")),
            "{load:#}"
        );
    });
}

#[test]
fn ctrl_c_does_not_wait_for_a_silent_server() {
    isolated(|| {
        let lab = Lab::new();
        let listener = lab.silent_server();
        let arguments = ["-q", "load", "-s", "192.0.2.2", "--timeout", "1h", "-o", "json"];
        let program = Program::start(&lab.client, lab.command("", &arguments)).unwrap();
        let _open: Vec<_> = (0..16).map(|_| listener.accept().unwrap()).collect();
        program.signal("INT").unwrap();
        let ended = program.finish();
        let document = json(&ended.out);
        check(&document);
        assert_eq!(ended.code, Some(3), "no reply: {document:#}");
        assert_eq!(document["load"]["connections"]["unfinished"], 16, "{document:#}");
    });
}

#[test]
fn terminal_shows_progress_and_erases_it() {
    isolated(|| {
        if !lab::require("script") {
            return;
        }
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let load = format!(
            "{} --config {} -q load -s 192.0.2.2 --duration 1s",
            env!("CARGO_BIN_EXE_tfo-client"),
            lab.file("client.toml", "").display()
        );
        for (no_color, shown) in [("", true), ("1", false)] {
            let mut script = clean(Command::new("script"));
            script.env("NO_COLOR", no_color).env("TERM", "xterm");
            script.args(["-qec", &load]).arg(lab.path("typescript"));
            let ended = Program::start(&lab.client, script).unwrap().finish();
            let seen = ended.out.contains("/s  fast-open ") && ended.out.contains("  p99 ");
            assert_eq!(seen, shown, "NO_COLOR={no_color}: {}", ended.out);
            assert_eq!(ended.out.contains("\x1b[2K"), shown, "{}", ended.out);
            pause();
        }
    });
}
