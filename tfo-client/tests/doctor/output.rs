//! The screen, `--watch`, and the exit status.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use serde_json::Value;
use tfo_core::lab::{Host, Program, isolated, require};

use crate::harness::{connect, doctor, hosts, listen, run, server_address, set, set_bits};

#[test]
fn screen_of_a_busy_host_has_80_columns_and_no_colour() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let open: Vec<_> = (0..3)
            .map(|_| (connect(&client, server_address()), listener.accept().unwrap()))
            .collect();
        set_bits(&server, 0x601);
        set(&server, "ipv4/tcp_syncookies", "2");
        let text = run(&server, doctor(&[])).out;
        for part in [
            "server: not ready, 2 problems",
            "  problem  net.ipv4.tcp_fastopen is 0x601",
            "Listeners and their fast open queues",
            "Open connections",
            "<- 192.0.2.1:",
            "hit rate          100.0 %",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert!(!text.contains('\x1b'), "colour is for terminals:\n{text}");
        for line in text.lines() {
            let is_command = line.contains('`');
            assert!(line.chars().count() <= 80 || is_command, "too wide: {line}");
            assert_eq!(line, line.trim_end(), "blanks at the end");
        }
        drop(open);
    });
}

#[test]
fn doctor_changes_no_settings() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let settings = || {
            ["tcp_fastopen", "tcp_fastopen_key", "tcp_syncookies"]
                .map(|name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap())
        };
        let before = host.run(settings);
        assert_eq!(run(&host, doctor(&[])).code, Some(0));
        assert_eq!(host.run(settings), before, "and the kernel generated no key");
    });
}

#[test]
fn watch_shows_rates_and_ends_after_its_frames() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let arguments = ["-o", "json", "--watch", "100ms", "--frames", "50"];
        let program = Program::start(&client, doctor(&arguments)).unwrap();
        let frame = |number: usize| -> Value {
            let document = serde_json::from_str(&program.out().first(number)[number - 1]).unwrap();
            crate::schema::assert_valid(&document);
            document
        };
        assert_eq!(
            frame(1)["doctor"]["change"],
            Value::Null,
            "the first frame has no previous one"
        );
        let before = program.out().count("schema");
        drop((connect(&client, server_address()), listener.accept().unwrap()));
        drop((connect(&client, server_address()), listener.accept().unwrap()));
        let rose = (2..=50).map(frame).find(|document| {
            let rates = &document["doctor"]["change"]["per_second"];
            rates["TCPFastOpenActive"].as_f64().unwrap() > 0.0
        });
        let rose = rose.expect("no frame shows the connection");
        assert_eq!(rose["doctor"]["counters"]["TCPFastOpenActive"], 1, "after frame {before}");
        assert_eq!(rose["doctor"]["change"]["hit_rates"]["outgoing"], 1.0);
        let ended = program.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert_eq!(ended.out.lines().count(), 50, "one line per document");
    });
}

#[test]
fn frames_are_appended_without_a_terminal() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        set_bits(&host, 0);
        let ended = run(&host, doctor(&["--watch", "100ms", "--frames", "3"]));
        assert_eq!(ended.code, Some(1), "not ready: {}", ended.out);
        assert_eq!(ended.out.matches("client: not ready, 1 problem; server: ").count(), 3);
        assert_eq!(ended.out.matches("and per second").count(), 2, "not in the first frame");
        assert!(!ended.out.contains('\x1b'), "no escape codes without a terminal");
    });
}

#[test]
fn watch_ends_with_ctrl_c_or_a_closed_pipe() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        let program = Program::start(&host, doctor(&["--watch", "100ms"])).unwrap();
        let _ = program.out().expect(&["and per second"]);
        program.signal("INT").unwrap();
        let ended = program.finish();
        assert_eq!((ended.code, ended.err.as_str()), (None, ""), "the signal ended it");

        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = doctor(&["--watch", "100ms"]);
        command.stdin(Stdio::null()).stdout(writer);
        let mut child = host.spawn(command).unwrap();
        reader.read_exact(&mut [0]).unwrap();
        drop(reader);
        assert_eq!(child.wait().unwrap().code(), Some(0), "a closed pipe is no error");
    });
}

#[test]
fn terminal_is_restored_after_q_and_after_a_signal() {
    isolated(|| {
        if !require("script") {
            return;
        }
        let host = Host::new("host").unwrap();
        set_bits(&host, 1);
        for (key, what) in [("q", "q"), ("\x03", "SIGINT"), ("\x1c", "SIGQUIT")] {
            let watch = "stty rows 24 cols 80; stty -g";
            let words =
                format!("trap : INT QUIT; {watch}; {}; stty -g", line(&["--watch", "100ms"]));
            let mut command = Command::new("script");
            command.args(["-qec", &words, "/dev/null"]).env("TERM", "xterm");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = host.spawn(command).unwrap();
            let mut shown = Vec::new();
            let mut out = child.stdout.take().unwrap();
            while !String::from_utf8_lossy(&shown).contains("q quits") {
                let mut byte = [0];
                assert_eq!(out.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
                shown.push(byte[0]);
            }
            child.stdin.as_mut().unwrap().write_all(key.as_bytes()).unwrap();
            out.read_to_end(&mut shown).unwrap();
            child.wait().unwrap();
            let shown = String::from_utf8_lossy(&shown);
            let lines: Vec<&str> = shown.lines().map(str::trim).collect();
            assert_eq!(lines.first(), lines.last(), "{what} left the terminal changed: {shown}");
            assert!(lines[0].contains(':'), "stty printed its settings: {shown}");
            let frame = shown.split("\x1b[H\x1b[J").nth(1).unwrap();
            assert!(frame.lines().count() <= 24, "{frame}");
            let verdict = frame.lines().nth(1).unwrap();
            assert!(verdict.contains("client: "), "the verdict is at the top: {frame}");
        }
    });
}

/// Returns the command as a line for a shell.
fn line(arguments: &[&str]) -> String {
    let doctor = doctor(arguments);
    let words = [doctor.get_program()].into_iter().chain(doctor.get_args());
    words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn terminal_gets_colour_and_frames_that_overwrite_each_other() {
    isolated(|| {
        if !require("script") {
            return;
        }
        let host = Host::new("host").unwrap();
        set_bits(&host, 1);
        let on_terminal = |variable: (&str, &str)| {
            let words = line(&["--watch", "100ms", "--frames", "2"]);
            let mut command = Command::new("script");
            command.args(["-qec", &words, "/dev/null"]).env("TERM", "xterm");
            command.env_remove("NO_COLOR").env(variable.0, variable.1);
            run(&host, command).out
        };
        let text = on_terminal(("UNUSED", "1"));
        assert_eq!(text.matches("\x1b[H\x1b[J").count(), 2, "{text}");
        for (colour, word) in [("32", "ready"), ("31", "not ready, 1 problem"), ("33", "note")] {
            assert!(text.contains(&format!("\x1b[{colour}m{word}")), "{word}: {text:?}");
        }
        let text = on_terminal(("NO_COLOR", "1"));
        assert!(text.contains("\x1b[J") && !text.contains("\x1b[3"), "{text:?}");
    });
}

#[test]
fn invalid_flags_are_refused() {
    isolated(|| {
        let host = Host::new("host").unwrap();
        for arguments in [
            &["--watch", "1"][..],
            &["--watch", "99ms"],
            &["--frames", "2"],
            &["--watch", "1s", "--frames", "0"],
            &["--only", "both"],
            &["-n", "1"],
        ] {
            let ended = run(&host, doctor(arguments));
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}");
        }
    });
}
