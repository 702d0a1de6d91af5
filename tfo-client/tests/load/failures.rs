//! Connections that get no reply.

use std::io::{Read, Write};
use std::time::Duration;

use tfo_core::lab::isolated;
use tfo_core::socket::{FastOpenStream, option};

use crate::harness::Lab;
use crate::{answer, load, serve};

#[test]
fn closed_port_refuses_all_connections() {
    isolated(|| {
        let lab = Lab::new();
        for mode in ["auto", "off"] {
            let (load, ended) = load(&lab, &["--count", "100", "--mode", mode]);
            assert_eq!(ended.code, Some(3), "no connection got its reply: {load:#}");
            assert_eq!(load["errors"]["refused"], 100, "{load:#}");
        }
        let _peers = serve(&lab, answer);
        load(&lab, &["--count", "20"]);
        // With a cookie the SYN has data, and the connecting call itself succeeds.
        let (load, _) = load(&lab, &["-p", "9", "--count", "100"]);
        assert_eq!(load["errors"]["refused"], 100, "{load:#}");
    });
}

#[test]
fn address_without_a_route_is_unreachable() {
    isolated(|| {
        let lab = Lab::new();
        let (load, ended) = load(&lab, &["-s", "203.0.113.1", "--count", "5"]);
        assert_eq!(ended.code, Some(3), "{load:#}");
        assert_eq!(load["errors"]["unreachable"], 5, "{load:#}");
    });
}

#[test]
fn silent_server_times_out() {
    isolated(|| {
        let lab = Lab::new();
        let _listener = lab.silent_server();
        let (load, ended) = load(&lab, &["--count", "32", "--timeout", "100ms"]);
        assert_eq!(ended.code, Some(3), "{load:#}");
        assert_eq!(load["errors"]["timed-out"], 32, "{load:#}");
    });
}

/// Resets every second connection after reading its request.
fn reset_some(mut stream: FastOpenStream, number: usize) {
    if stream.read_exact(&mut [0; 64]).is_err() {
        return;
    }
    if number.is_multiple_of(2) {
        option::set_linger(&stream, Some(Duration::ZERO)).unwrap();
    } else {
        let _ = stream.write_all(b"ok");
    }
}

#[test]
fn resets_are_errors_and_all_others_have_verdicts() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, reset_some);
        let (load, ended) = load(&lab, &["--count", "100", "--concurrency", "4"]);
        assert_eq!(ended.code, Some(0), "{load:#}");
        assert_eq!(load["errors"]["reset"], 50, "{load:#}");
        assert_eq!(load["connections"]["replies"], 50, "{load:#}");
    });
}

/// Answers, and resets instead of closing.
fn answer_and_reset(mut stream: FastOpenStream, _: usize) {
    if stream.read_exact(&mut [0; 64]).is_ok() && stream.write_all(b"ok").is_ok() {
        option::set_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
}

#[test]
fn reset_does_not_complete_a_reply_that_ends_with_the_close() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer_and_reset);
        let (seen, _) = load(&lab, &["--count", "100"]);
        assert_eq!(seen["errors"]["reset"], 100, "{seen:#}");
        // A reply of known length is complete before the reset.
        let (seen, _) = load(&lab, &["--count", "100", "--expect-bytes", "2"]);
        assert_eq!(seen["connections"]["replies"], 100, "{seen:#}");
    });
}

/// Reads the request and closes. Every second connection gets half of the expected reply first.
fn close_early(mut stream: FastOpenStream, number: usize) {
    if stream.read_exact(&mut [0; 64]).is_ok() && number.is_multiple_of(2) {
        let _ = stream.write_all(b"ok");
    }
}

#[test]
fn truncated_or_missing_reply_is_closed_early() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, close_early);
        let (seen, _) = load(&lab, &["--count", "40"]);
        assert_eq!(seen["errors"]["closed-early"], 20, "the empty replies: {seen:#}");
        assert_eq!(seen["connections"]["replies"], 20, "{seen:#}");
        let (seen, _) = load(&lab, &["--count", "40", "--expect-bytes", "4"]);
        assert_eq!(seen["errors"]["closed-early"], 40, "{seen:#}");
        let (seen, _) = load(&lab, &["--count", "40", "--expect", "okay"]);
        assert_eq!(seen["errors"]["closed-early"], 40, "{seen:#}");
    });
}

#[test]
fn unexpected_reply_is_wrong() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let (seen, _) = load(&lab, &["--count", "40", "--expect", "ok"]);
        assert_eq!(seen["connections"]["replies"], 40, "{seen:#}");
        let (seen, ended) = load(&lab, &["--count", "40", "--expect", "no"]);
        assert_eq!(seen["errors"]["wrong-reply"], 40, "{seen:#}");
        assert_eq!(ended.code, Some(3), "{seen:#}");
        let (seen, _) = load(&lab, &["--count", "40", "--expect-bytes", "1"]);
        assert_eq!(seen["errors"]["wrong-reply"], 40, "{seen:#}");
        let ended = lab.probe(&["-q", "load", "--count", "40", "--expect", "no"]);
        assert!(
            ended.out.contains("A wrong reply: it does not begin with the text of --expect."),
            "{}",
            ended.out
        );
    });
}

/// Sends a response with a status that depends on the path.
fn respond(mut stream: FastOpenStream, _: usize) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        request.push(byte[0]);
    }
    let status = if request.starts_with(b"GET /there HTTP/1.1\r\nHost: 192.0.2.2:2222\r\n") {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
    let _ = stream.write_all(response.as_bytes());
}

#[test]
fn unexpected_http_status_is_wrong() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, respond);
        let (seen, ended) = load(&lab, &["--count", "40", "--http", "/there"]);
        assert_eq!(seen["connections"]["replies"], 40, "{seen:#}");
        assert_eq!(ended.code, Some(0), "{seen:#}");
        let (seen, ended) = load(&lab, &["--count", "40", "--http", "/"]);
        assert_eq!(seen["errors"]["wrong-reply"], 40, "{seen:#}");
        assert_eq!(ended.code, Some(3), "{seen:#}");
        let wanted = ["--count", "40", "--http", "/", "--expect-status", "404"];
        let (seen, _) = load(&lab, &wanted);
        assert_eq!(seen["connections"]["replies"], 40, "{seen:#}");
        let ended = lab.probe(&["-q", "load", "--count", "4", "--http", "/"]);
        assert!(ended.out.contains("A wrong reply: its HTTP status is 404."), "{}", ended.out);
    });
}
