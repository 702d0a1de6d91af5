//! The access log: lines, totals, and a reader that closes its pipe.

use std::process::Command;

use tfo_core::{
    host::FastOpenFlags,
    lab::{Program, isolated},
    probe::mirror,
    socket::Connector,
};

use crate::support::{Lab, answer, ask, clean, json};

#[test]
fn line_contains_peer_verdict_syn_bytes_and_cookie() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "discard"]);
        for first in ["hello", "hello again"] {
            let mut client = lab.fast_open(first.as_bytes());
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"");
        }
        assert_eq!(ask(&mut lab.connect(), b"regular"), b"");
        let lines = server.out().first(3);
        let parts = [
            ["127.0.0.1:", " cookie-granted, 0 B in the SYN, cookie request, ", " ms"],
            ["127.0.0.1:", " fast-open, 11 B in the SYN, cookie 8 B, ", " ms"],
            ["127.0.0.1:", " not-attempted", ", 0 B in the SYN, no cookie, "],
        ];
        for (line, parts) in lines.iter().zip(parts) {
            assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
        }
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let total = ended.out.lines().last().unwrap();
        assert_eq!(
            total,
            "total: 3 connections, 1 fast-open, 1 cookie-granted, 1 not-attempted; 11 B in SYNs, \
             23 B in, 0 B out"
        );
    });
}

#[test]
fn json_lines_contain_evidence_and_the_last_one_totals() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("engine.workers = 1\noutput.format = \"json\"\n", &[]);
        for token in ["a", "b", "c"] {
            let _told = answer(&mut lab.fast_open(&mirror::request(token, 100)));
        }
        let _ = server.out().first(3);
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let lines: Vec<_> = ended.out.lines().map(json).collect();
        let verdicts: Vec<_> = lines[..3].iter().map(|line| &line["verdict"]).collect();
        assert_eq!(verdicts, ["cookie-granted", "fast-open", "fast-open"]);
        for line in &lines[1..3] {
            assert_eq!(line["schema"], 1, "{line}");
            assert_eq!(line["syn_bytes"], 100, "{line}");
            assert_eq!(line["evidence"]["tcp"]["syn_data"], true, "{line}");
            assert_eq!(line["evidence"]["counters"]["passive"], 1, "{line}");
        }
        let totals = &lines[3]["totals"];
        assert_eq!(totals["connections"], 3, "{totals}");
        assert_eq!(totals["syn_bytes"], 200, "{totals}");
        assert_eq!(totals["verdicts"]["fast-open"], 2, "{totals}");
    });
}

/// The host's counters rise for all connections: only the connection's own bits may decide.
#[test]
fn cookie_requests_among_fast_open_clients_are_granted() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "respond"]);
        let ask = |source: [u8; 4]| {
            let connector = Connector::default().bind((source, 0).into());
            let connect = move || connector.connect(crate::support::SERVER, b"hello");
            answer(&mut lab.host.run(connect).unwrap());
        };
        for _ in 0..3 {
            ask([127, 0, 0, 1]);
        }
        for number in 1..=20 {
            ask([127, 0, 1, number]);
            ask([127, 0, 0, 1]);
        }
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let total = ended.out.lines().last().unwrap();
        let expected = "total: 43 connections, 22 fast-open, 21 cookie-granted; ";
        assert!(total.starts_with(expected), "{total}");
    });
}

#[test]
fn refused_cookie_is_logged_with_its_cause() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "discard", "-o", "json"]);
        let connect = || {
            let mut client = lab.fast_open(b"hello");
            client.shutdown(std::net::Shutdown::Write).unwrap();
            answer(&mut client);
        };
        connect();
        lab.host.set_tcp_fastopen(FastOpenFlags::new(1)).unwrap();
        connect();
        let line = json(&server.out().first(2)[1]);
        assert_eq!(
            (&line["verdict"], &line["cause"]),
            (&"fallback".into(), &"server-disabled".into())
        );
    });
}

#[test]
fn closed_output_pipe_does_not_stop_the_server() {
    isolated(|| {
        let lab = Lab::new();
        let script = "\"$0\" \"$@\" | head -n 1";
        let mut command = clean(Command::new("sh"));
        command.args(["-c", script, env!("CARGO_BIN_EXE_tfo-server"), "--service", "echo"]);
        command.arg("--config").arg(lab.config(""));
        let server = Program::start_tree(&lab.host, command).unwrap();
        let _ = server.err().expect(&["listening on"]);
        for _ in 0..4 {
            assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        }
        let _ = server.out().expect(&["not-attempted"]);
        assert_eq!(
            server.err().count("panicked") + server.err().count("error"),
            0,
            "{}",
            server.err()
        );
    });
}
