//! A fixed rate, at which a stalled server can't hide its delays.

use std::thread;
use std::time::Duration;

use tfo_core::lab::isolated;
use tfo_core::socket::FastOpenStream;

use crate::harness::Lab;
use crate::{answer, load, serve};

/// Stalls once.
fn stall(stream: FastOpenStream, number: usize) {
    if number == 50 {
        thread::sleep(Duration::from_millis(700));
    }
    answer(stream, number);
}

#[test]
fn stall_shows_in_the_times_of_all_connections_due_meanwhile() {
    isolated(|| {
        for cap in [None, Some("1")] {
            let lab = Lab::new();
            let _peers = serve(&lab, stall);
            let mut arguments = vec!["--rate", "100", "--count", "200"];
            // With one connection at a time, only a single one is slow when measured from its start.
            arguments.extend(cap.iter().flat_map(|cap| ["--concurrency", cap]));
            let (load, ended) = load(&lab, &arguments);
            assert_eq!(ended.code, Some(0), "{load:#}");
            assert_eq!(load["connections"]["replies"], 200, "{load:#}");
            // 70 were due during the stall, 40 of them at least 300 ms before its end.
            let times = &load["times_us"]["first_byte"];
            assert!(times["p90"].as_f64().unwrap() >= 200_000.0, "{cap:?} {load:#}");
            assert!(times["max"].as_f64().unwrap() >= 690_000.0, "{cap:?} {load:#}");
            assert_eq!(load["times_us"]["late_start"]["count"], 200, "{load:#}");
        }
    });
}

#[test]
fn rate_starts_the_requested_number_of_connections() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        for threads in ["1", "3"] {
            let arguments = ["--rate", "500", "--duration", "400ms", "--threads", threads];
            let (load, _) = load(&lab, &arguments);
            let connections = &load["connections"];
            let started = connections["started"].as_u64().unwrap();
            let not_started = connections["not_started"].as_u64().unwrap();
            assert_eq!(started + not_started, 200, "{load:#}");
        }
    });
}

#[test]
fn connections_beyond_the_concurrency_are_not_started() {
    isolated(|| {
        let lab = Lab::new();
        let _listener = lab.silent_server();
        let arguments = ["--rate", "100", "--duration", "500ms", "--concurrency", "5"];
        let (load, ended) = load(&lab, &[&arguments[..], &["--timeout", "2s"]].concat());
        assert_eq!(load["connections"]["started"], 5, "{load:#}");
        assert_eq!(load["connections"]["not_started"], 45, "{load:#}");
        assert_eq!(load["errors"]["timed-out"], 5, "{load:#}");
        assert_eq!(ended.code, Some(3), "{load:#}");
    });
}

#[test]
fn limits_decide_the_exit_status() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        for (limits, code, rate, p99) in [
            (&["--fail-under", "1", "--max-p99", "1h"][..], 0, Some(true), Some(true)),
            (&["--fail-under", "10000000"], 1, Some(false), None),
            (&["--max-p99", "0ms"], 1, None, Some(false)),
            (&[], 0, None, None),
        ] {
            let (load, ended) = load(&lab, &[&["--count", "50"], limits].concat());
            assert_eq!(ended.code, Some(code), "{load:#}");
            assert_eq!(load["limits"]["rate_met"].as_bool(), rate, "{load:#}");
            assert_eq!(load["limits"]["p99_met"].as_bool(), p99, "{load:#}");
        }
    });
}

/// Answers all but every tenth connection.
fn leave_some(stream: FastOpenStream, number: usize) {
    if !number.is_multiple_of(10) {
        answer(stream, number);
    }
}

#[test]
fn connection_without_a_reply_exceeds_any_limit() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, leave_some);
        let (load, ended) = load(&lab, &["--count", "100", "--max-p99", "1h"]);
        assert_eq!(load["connections"]["errors"], 10, "{load:#}");
        assert_eq!(load["limits"]["p99_met"], false, "10 % are missing: {load:#}");
        assert_eq!(ended.code, Some(1), "{load:#}");
    });
}
