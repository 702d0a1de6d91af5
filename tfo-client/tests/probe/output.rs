//! Output to pipes and terminals, and colour.

use std::process::Command;
use std::time::{Duration, Instant};

use tfo_core::lab::{Finished, isolated, require};

use crate::harness::{Lab, clean};

const CLIENT: &str = env!("CARGO_BIN_EXE_tfo-client");

fn shell(lab: &Lab, script: &str) -> Finished {
    let mut command = clean(Command::new("sh"));
    let config = lab.file("client.toml", "");
    command.args(["-c", script, CLIENT]).env("TFO_CLIENT_CONFIG", config);
    lab.run(command)
}

/// Runs a command on a terminal of 80 columns. Standard output and error are both captured.
fn terminal(lab: &Lab, command: &str) -> Finished {
    let script = format!("stty cols 80 rows 40; {command}");
    let mut terminal = clean(Command::new("script"));
    terminal.args(["--quiet", "--return", "--command", &script, "/dev/null"]);
    terminal.env("TFO_CLIENT_CONFIG", lab.file("client.toml", "")).env("TERM", "xterm");
    lab.run(terminal)
}

/// Returns the rows that a terminal shows in the end, after carriage returns and erased lines.
fn shown(text: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let mut row: Vec<char> = Vec::new();
        let mut column = 0;
        let mut characters = line.chars();
        while let Some(c) = characters.next() {
            match c {
                '\r' => column = 0,
                '\x1b' => {
                    let mut code = String::new();
                    for c in characters.by_ref() {
                        code.push(c);
                        if c.is_alphabetic() {
                            break;
                        }
                    }
                    match code.as_str() {
                        "[2K" => row.clear(),
                        "[K" => row.truncate(column),
                        _ => {}
                    }
                }
                c => {
                    row.resize(row.len().max(column + 1), ' ');
                    row[column] = c;
                    column += 1;
                }
            }
        }
        rows.push(row.into_iter().collect::<String>().trim_end().to_owned());
    }
    rows
}

#[test]
fn pipe_gets_no_escape_codes_and_no_progress() {
    isolated(|| {
        let lab = Lab::new();
        let ended = shell(&lab, "\"$0\" --listen");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for text in [&ended.out, &ended.err] {
            assert!(!text.contains('\x1b') && !text.contains('\r'), "{text:?}");
            assert!(!text.contains("connecting"), "{text:?}");
        }
    });
}

#[test]
fn closed_pipe_is_quiet() {
    isolated(|| {
        let lab = Lab::new();
        for format in ["text", "json"] {
            let ended = shell(&lab, &format!("\"$0\" --listen -q -n 20 -o {format} | head -n 1"));
            assert_eq!(ended.err, "", "{format}");
            assert_eq!(ended.out.lines().count(), 1, "{format}: {}", ended.out);
        }
    });
}

#[test]
fn full_disk_is_status_2_with_one_message() {
    isolated(|| {
        let lab = Lab::new();
        for (command, format) in ["--listen", "lab --rtt 1ms", "doctor", "cookies", "explain"]
            .into_iter()
            .flat_map(|command| [(command, "text"), (command, "json")])
        {
            let ended = shell(&lab, &format!("\"$0\" {command} -q -o {format} > /dev/full"));
            let context = format!("{command}, {format}: {}", ended.err);
            assert_eq!(ended.code, Some(2), "{context}");
            assert!(ended.err.starts_with("error: can't print the report: No space"), "{context}");
            assert_eq!(ended.err.lines().count(), 1, "expected one message: {context}");
        }
    });
}

#[test]
fn file_size_limit_is_an_error_and_no_signal() {
    isolated(|| {
        let lab = Lab::new();
        let [out, pcap, svg] = ["out", "pcap", "svg"].map(|name| lab.file(name, ""));
        let [out, pcap, svg] = [&out, &pcap, &svg].map(|path| path.display());
        for (arguments, error) in [
            (format!("--listen -q -o json -n 20 > {out}"), "can't print the report: ".to_owned()),
            (format!("--listen -q -n 20 --pcap {pcap}"), format!("can't write {pcap}: ")),
            (format!("lab -q --rtt 1ms --pcap {pcap}"), format!("can't write {pcap}-client: ")),
            (format!("lab -q --rtt 1ms --svg {svg}"), format!("can't write {svg}: ")),
        ] {
            let ended = shell(&lab, &format!("ulimit -f 1; exec \"$0\" {arguments}"));
            assert_eq!(ended.code, Some(2), "{arguments}: {}", ended.err);
            let expected = format!("error: {error}File too large");
            assert!(ended.err.starts_with(&expected), "{arguments}: {}", ended.err);
        }
    });
}

#[test]
fn file_that_cannot_be_written_is_an_error_before_the_first_connection() {
    isolated(|| {
        let lab = Lab::new();
        let started = Instant::now();
        for arguments in [
            "192.0.2.2 --pcap /nowhere/x.pcapng",
            "lab -n 10000 --pcap /nowhere/x.pcapng",
            "lab -n 10000 --svg /nowhere/x.svg",
            "compare --lab --html /nowhere/x.html",
            "compare --lab --export-csv /nowhere/x.csv",
        ] {
            let ended = shell(&lab, &format!("\"$0\" {arguments}"));
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments}");
            assert!(ended.err.contains("can't write /nowhere/"), "{arguments}: {}", ended.err);
        }
        assert!(started.elapsed() < Duration::from_secs(10), "nothing was measured");
    });
}

#[test]
fn interruption_shows_the_summary_so_far() {
    isolated(|| {
        let lab = Lab::new();
        // The second one sleeps when it is interrupted.
        for (arguments, part) in [
            ("--listen -n 10000 --interval 50ms", "Verdict: fast-open"),
            ("--listen -n 3 --interval 1h", "Verdict: fast-open"),
            ("lab -n 10000 --rtt 5ms", "fast-open"),
        ] {
            let started = Instant::now();
            let line = format!("exec timeout -s INT 1.5 \"$0\" {arguments} -q");
            let ended = shell(&lab, &line);
            assert!(ended.out.contains(part), "{arguments}: {ended:?}");
            assert!(started.elapsed() < Duration::from_secs(8), "{arguments}");
        }
    });
}

#[test]
fn progress_on_a_terminal_is_erased() {
    isolated(|| {
        if !require("script") {
            return;
        }
        let lab = Lab::new();
        let ended = terminal(&lab, &format!("{CLIENT} --listen"));
        assert!(ended.out.contains("connecting"), "{:?}", ended.out);
        assert!(ended.out.contains("\x1b[1m"), "{:?}", ended.out);
        let rows = shown(&ended.out);
        assert!(rows.iter().all(|row| !row.contains("connecting")), "{rows:#?}");
        let head = rows.iter().position(|row| row.trim_start().starts_with("# ")).unwrap();
        let table = &rows[head + 1..head + 4];
        for (n, (row, verdict)) in
            table.iter().zip(["cookie-granted", "fast-open", "fast-open"]).enumerate()
        {
            let words: Vec<_> = row.split_whitespace().take(2).collect();
            assert_eq!(words, [(n + 1).to_string().as_str(), verdict], "{rows:#?}");
        }
        assert_eq!(rows[head + 4], "", "{rows:#?}");
        // Columns are aligned with their heads.
        let ends = |row: &str, word: &str| row.find(word).map(|at| at + word.len());
        assert_eq!(ends(&rows[head], "in the SYN"), ends(&table[1], "64 B"), "{rows:#?}");
        assert!(table.iter().all(|row| row.chars().count() <= 80), "{rows:#?}");
    });
}

#[test]
fn no_color_disables_colour_and_progress() {
    isolated(|| {
        if !require("script") {
            return;
        }
        let lab = Lab::new();
        let ended = terminal(&lab, &format!("NO_COLOR=1 {CLIENT} --listen"));
        assert!(!ended.out.contains('\x1b'), "{:?}", ended.out);
        assert!(ended.out.contains("fast-open"), "{:?}", ended.out);
    });
}

#[test]
fn standard_output_has_nothing_but_json() {
    isolated(|| {
        let lab = Lab::new();
        let ended = shell(&lab, "\"$0\" --listen -vv -o json");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let _ = crate::harness::json(&ended.out);
    });
}
