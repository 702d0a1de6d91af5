//! The text, the files, and invalid flags.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::lab::isolated;

use super::{among_others, compare, errors, text};

#[test]
fn text_has_answer_tables_and_a_plot_in_30_lines_of_80_columns() {
    let _others = among_others();
    isolated(|| {
        let output = compare("--lab --rtt 20ms -n 15");
        let text = text(&output);
        for piece in [
            "192.0.2.2:2222 (lab, RTT 20.0 ms): 15 pairs of",
            "median",
            "p90",
            "p99",
            "in RTT",
            "Hit rate      15 of 15 (78 % to 100 %)",
            "distribution of the times",
            "1 RTT",
            "2 RTT",
            "█",
        ] {
            assert!(text.contains(piece), "{piece:?} is missing:\n{text}");
        }
        // On a busy machine connections are lost, or there is no answer: these take lines of their own.
        let usual = text.contains("\nTurn it on.\n") && !text.contains("Misses");
        assert!(!usual || text.lines().count() <= 30, "{text}");
        assert!(!text.contains('\u{1b}'), "a pipe gets no colour");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert_eq!(line, line.trim_end(), "no blanks at the end");
        }
        let on = text.contains("\nTurn it on.\n");
        // On a busy machine there may be no answer.
        assert!(!on || text.contains("round trips"), "{text}");
        assert_eq!(output.status.code(), Some(i32::from(!on)), "{text}");
    });
}

#[test]
fn path_without_round_trip_is_inconclusive() {
    let _others = among_others();
    isolated(|| {
        let output = compare("--lab --rtt 0ms -n 10");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("\nInconclusive.\n"), "{}", text(&output));
        assert!(text(&output).contains("there is no round trip to save"), "{}", text(&output));
    });
}

#[test]
fn exported_files_contain_every_connection() {
    let _others = among_others();
    isolated(|| {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let arguments = format!(
            "--lab --rtt 5ms -n 11 -v --ascii --svg {} --html {} --samples --export-json {} --export-csv {}",
            path("a.svg"),
            path("a.html"),
            path("a.json"),
            path("a.csv")
        );
        let output = compare(&arguments);
        assert!(output.status.code() <= Some(1), "{}", errors(&output));
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        let text = text(&output);
        for piece in [
            "Expectation   100 % × ",
            "share of the connections that had it by then",
            "r regular   f fast open   # several",
        ] {
            assert!(text.contains(piece), "{piece:?} is missing:\n{text}");
        }
        assert!(!text.contains(['│', '─', '█', '▁']), "{text}");

        let document: Value = serde_json::from_str(&read("a.json")).unwrap();
        super::schema::assert_valid(&document);
        let samples = document["targets"][0]["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 22);

        let csv = read("a.csv");
        let mut rows = csv.split("\r\n");
        let head: Vec<&str> = rows.next().unwrap().split(',').collect();
        let rows: Vec<Vec<&str>> =
            rows.filter(|row| !row.is_empty()).map(|row| row.split(',').collect()).collect();
        assert_eq!(rows.len(), 22);
        for (row, sample) in rows.iter().zip(samples) {
            assert_eq!(row.len(), head.len());
            for (name, value) in head.iter().zip(row).filter(|(name, _)| **name != "target") {
                let expected = match &sample[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(*value, expected, "{name}: {sample}");
            }
        }

        let svg = read("a.svg");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
        for piece in
            ["<title>", "cmp-curve cmp-fast", "cmp-curve cmp-regular", "prefers-color-scheme"]
        {
            assert!(svg.contains(piece), "{piece}");
        }

        let html = read("a.html");
        for piece in [
            "<!DOCTYPE html>",
            "viewport",
            "prefers-color-scheme: dark",
            "@media print",
            "<h2>Times</h2>",
            "<h2>A typical pair</h2>",
            "<h2>All 22 connections</h2>",
            "<h2>Settings</h2>",
            "data:image/svg+xml,",
        ] {
            assert!(html.contains(piece), "{piece} is missing");
        }
        assert_eq!(html.matches("<td class=\"words").count(), 44, "two words in each of 22 rows");
        for outside in ["<script", "src=\"http", "href=", "url(", "@import"] {
            assert!(!html.contains(outside), "{outside}: the page is not self-contained");
        }
    });
}

#[test]
fn invalid_flags_are_refused_with_allowed_values() {
    for (arguments, pieces) in [
        ("--rtt 20ms", ["--lab", "path"]),
        ("--lab -s 192.0.2.1", ["--lab", "--server"]),
        ("--targets x -s 192.0.2.1", ["--targets", "--server"]),
        ("--http index.html", ["index.html", "begins with a slash"]),
        ("--dns a..b", ["a..b", "a domain name"]),
        ("--until-ci 0%", ["0%", "0.1% to 50%"]),
        ("--pairs 0", ["0", "from 1 to 100000"]),
        ("--insecure", ["--insecure", "--tls"]),
        ("--http / --dns a", ["--http", "--dns"]),
        ("--svg x.svg --targets x", ["--svg", "--targets"]),
        ("--lab --rtt 0ms -n 1 --svg /nowhere/x.svg", ["can't write", "/nowhere/x.svg"]),
    ] {
        let output = compare(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {}", errors(&output));
        for piece in pieces {
            assert!(errors(&output).contains(piece), "{arguments}: {}", errors(&output));
        }
    }
}

#[test]
fn refused_connection_is_status_3_with_the_reason() {
    let _others = among_others();
    isolated(|| {
        let output = compare("-s 127.0.0.1:9");
        assert_eq!(output.status.code(), Some(3));
        assert!(errors(&output).contains("refused the connection"), "{}", errors(&output));
    });
}
