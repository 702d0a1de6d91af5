//! Connections that fail, or get no answer.

use std::io::Write;
use std::thread;

use tfo_core::lab::isolated;

use crate::harness::{Lab, accept, each};

#[test]
fn closed_port_is_status_3_and_refused() {
    isolated(|| {
        let lab = Lab::new();
        let (document, ended) = lab.document(&["-p", "9"]);
        assert_eq!(ended.code, Some(3), "{document}");
        assert_eq!(each(&document, "verdict"), ["failed"; 3], "{document}");
        assert_eq!(each(&document, "cause"), ["refused"; 3], "{document}");
        assert!(document["connections"][0]["connect_us"].is_null(), "{document}");
        let advice = document["summary"]["advice"].as_str().unwrap();
        assert!(advice.contains("`tfo-client doctor`"), "{advice}");
    });
}

#[test]
fn closed_port_with_a_cached_cookie_is_refused() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        assert_eq!(lab.document(&[]).1.code, Some(0));
        let (document, ended) = lab.document(&["-p", "9", "-n", "1"]);
        assert_eq!(ended.code, Some(3), "{document}");
        let line = &document["connections"][0];
        assert_eq!(line["evidence"]["client"]["attempt"]["in-syn"], 64, "{line}");
        assert_eq!(line["cause"], "refused", "a regular connection is refused as well: {line}");
    });
}

#[test]
fn name_that_does_not_resolve_is_status_3_with_a_document() {
    isolated(|| {
        let lab = Lab::new();
        let (document, ended) = lab.document(&["host.invalid"]);
        assert_eq!(ended.code, Some(3), "{document}");
        assert_eq!(document["target"]["host"], "host.invalid");
        assert!(document["target"]["address"].is_null(), "{document}");
        let error = document["error"].as_str().unwrap();
        assert!(error.starts_with("no address for host.invalid: "), "{error}");
        assert_eq!(document["summary"]["verdict"], "failed", "{document}");
    });
}

#[test]
fn address_without_a_route_is_status_3_and_unreachable() {
    isolated(|| {
        let lab = Lab::new();
        let (document, ended) = lab.document(&["-s", "203.0.113.1", "-n", "1"]);
        assert_eq!(ended.code, Some(3), "{document}");
        assert_eq!(document["summary"]["cause"], "unreachable", "{document}");
    });
}

#[test]
fn silent_host_times_out_after_the_connect_timeout() {
    isolated(|| {
        let lab = Lab::new();
        // No host has this address, and neighbour discovery takes longer than the timeout.
        let time = ["--connect-timeout", "100ms"];
        let (document, ended) =
            lab.document(&[&["-s", "192.0.2.99", "-n", "1"], &time[..]].concat());
        assert_eq!(ended.code, Some(3), "{document}");
        assert_eq!(document["summary"]["cause"], "timed-out", "{document}");
    });
}

#[test]
fn silent_server_fails_with_advice_to_use_no_reply() {
    isolated(|| {
        let lab = Lab::new();
        let _silent = lab.silent_server();
        let arguments = ["--reply-timeout", "100ms", "-n", "1"];
        let (document, ended) = lab.document(&arguments);
        assert_eq!(ended.code, Some(3), "{document}");
        assert_eq!(document["summary"]["verdict"], "failed", "{document}");
        assert_eq!(document["summary"]["cause"], "timed-out", "{document}");
        let advice = document["summary"]["advice"].as_str().unwrap();
        assert!(advice.contains("--no-reply"), "{advice}");
        assert!(document["connections"][0]["first_byte_us"].is_null(), "{document}");

        let (document, ended) = lab.document(&["--no-reply", "-n", "1"]);
        assert_eq!(ended.code, Some(1), "the advice works: {document}");
        assert_eq!(document["summary"]["cause"], "no-cookie-returned", "{document}");
    });
}

#[test]
fn no_reply_probes_a_discard_server() {
    isolated(|| {
        let lab = Lab::new();
        let Some(server) = lab.serve_all(&["--service", "discard"]) else { return };
        let (document, ended) = lab.document(&["--no-reply"]);
        assert_eq!(ended.code, Some(0), "{document}");
        assert_eq!(each(&document, "verdict"), ["cookie-granted", "fast-open", "fast-open"]);
        let finding = document["summary"]["finding"].as_str().unwrap();
        assert!(finding.contains("acknowledged the data of 2 of 3 connections"), "{finding}");
        assert!(finding.contains("nothing shows whether the service got it"), "{finding}");
        assert!(!finding.contains("works"), "{finding}");
        assert_eq!(document["summary"]["unanswered"], true, "{document}");
        assert!(document["connections"][2]["evidence"]["server"].is_null(), "{document}");
        assert_eq!(document["connections"][2]["evidence"]["client"]["result"], "connected");
        // Several workers log in any order.
        let lines = server.out().first(3);
        let of = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!(of("fast-open, 64 B in the SYN, cookie 8 B"), 2, "{lines:?}");
        assert_eq!(of("cookie-granted"), 1, "{lines:?}");
    });
}

#[test]
fn greeting_of_a_server_counts_as_an_answer() {
    isolated(|| {
        let lab = Lab::new();
        let listener = lab.silent_server();
        let greeting = thread::spawn(move || {
            for _ in 0..3 {
                let (mut stream, _) = accept(&listener);
                stream.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
                // Reads to the end, because closing with unread bytes would send a reset.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        let (document, ended) = lab.document(&["--mode", "connect", "--message", "EHLO me\r\n"]);
        greeting.join().unwrap();
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(document["connections"][0]["evidence"]["client"]["result"], "answered");
        assert!(document["connections"][0]["evidence"]["server"].is_null(), "{document}");
    });
}
