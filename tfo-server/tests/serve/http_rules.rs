//! HTTP as RFC 9112 and RFC 9110 define it: malformed requests, segmentation, refusals, timeouts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::lab::isolated;

use crate::support::{Lab, answer, ask, json};

const HELLO: &str =
    "[listen]\nservice = \"respond\"\n[respond]\nbody = \"hello\\n\"\nhttp = true\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Returns the complete answer, without dates, to a client that sends this request and a FIN.
fn answer_text(lab: &Lab, request: &[u8]) -> String {
    without_date(&ask(&mut lab.connect(), request))
}

fn without_date(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("Date: "));
    lines.collect()
}

fn assert_status(lab: &Lab, request: &str, expected: &str) -> String {
    let text = answer_text(lab, request.as_bytes());
    assert_eq!(text.get(9..12), Some(expected), "{request:?}: {text}");
    text
}

#[test]
fn malformed_request_line_gets_400() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        for line in [
            "GET /a b HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET  / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /",
            "GET",
            "GET / http/1.1",
            "GET / HTTP/1",
            "GET / HTTP/1.10",
            "GET / HTTP/2.0x",
            "GET /<a> HTTP/1.1",
            "GET /\u{e4} HTTP/1.1",
            "GET / HTTP/1.1\r",
        ] {
            assert_status(&lab, &format!("{line}\r\nHost: a\r\n\r\n"), "400");
        }
        for bare in ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n"] {
            assert_status(&lab, bare, "400");
        }
    });
}

#[test]
fn minor_versions_are_served_and_other_majors_refused() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        for (version, expected) in [
            ("HTTP/1.1", "200"),
            ("HTTP/1.2", "200"),
            ("HTTP/1.9", "200"),
            ("HTTP/0.9", "505"),
            ("HTTP/2.0", "505"),
            ("HTTP/3.0", "505"),
        ] {
            assert_status(&lab, &format!("GET / {version}\r\nHost: a\r\n\r\n"), expected);
        }
        let mut client = lab.connect();
        let later = b"GET / HTTP/1.2\r\nHost: a\r\n\r\n".as_slice();
        client.write_all(&[later, GET].concat()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let text = without_date(&answer(&mut client));
        assert_eq!(
            text.matches("HTTP/1.1 200 OK\r\n").count(),
            2,
            "the connection persists: {text}"
        );
    });
}

#[test]
fn answer_is_independent_of_segment_boundaries() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        for request in [
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "\r\n\r\nHEAD / HTTP/1.3\r\nHost: a\r\n\r\nGET x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\nA: b\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        ] {
            let whole = answer_text(&lab, request.as_bytes());
            assert!(!whole.is_empty());
            for at in 1..request.len() {
                let (a, b) = request.as_bytes().split_at(at);
                let mut client = lab.connect();
                client.set_nodelay(true).unwrap();
                client.write_all(a).unwrap();
                // Usually long enough for the server to read the first part.
                thread::sleep(Duration::from_millis(1));
                // The server may already have refused the request.
                let _ = client.write_all(b);
                let _ = client.shutdown(Shutdown::Write);
                assert_eq!(without_date(&answer(&mut client)), whole, "{request:?}, cut at {at}");
            }
        }
    });
}

#[test]
fn refused_head_request_gets_no_body() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        for (request, expected) in [
            ("HEAD /a b HTTP/1.1\r\n", "400"),
            ("HEAD / HTTP/1.1\r\n\r\n", "400"),
            ("HEAD / HTTP/2.0\r\n", "505"),
            ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", "413"),
            ("HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx", "400"),
            (&format!("HEAD / HTTP/1.1\r\nA: {}", "x".repeat(9000)), "431"),
        ] {
            let text = assert_status(&lab, request, expected);
            assert!(text.ends_with("\r\n\r\n"), "{request:?}: {text}");
            assert!(!text.contains("Content-Length: 0"), "as for GET: {text}");
        }
    });
}

#[test]
fn continue_is_sent_only_for_an_accepted_body() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        for (line, length, expected) in [
            ("PUT / HTTP/1.1", "Content-Length: 3", "405"),
            ("POST / HTTP/1.1", "Transfer-Encoding: chunked", "405"),
            ("GET / HTTP/1.1", "Content-Length: 1048577", "413"),
            ("PUT / HTTP/1.1", "Content-Length: 1048577", "413"),
            ("GET * HTTP/1.1", "Content-Length: 3", "400"),
        ] {
            let request = format!("{line}\r\nHost: a\r\nExpect: 100-continue\r\n{length}\r\n\r\n");
            let mut client = lab.connect();
            client.write_all(request.as_bytes()).unwrap();
            // The client waits: it neither sends the body nor closes.
            let text = without_date(&answer(&mut client));
            assert_eq!(text.get(9..12), Some(expected), "{request:?}: {text}");
            assert!(!text.contains("100 Continue"), "{request:?}: {text}");
            assert!(text.contains("\r\nConnection: close\r\n"), "{request:?}: {text}");
        }
        let mut client = lab.connect();
        let head = "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        client.write_all(head.as_bytes()).unwrap();
        let mut word = vec![0; CONTINUE.len()];
        client.read_exact(&mut word).unwrap();
        assert_eq!(word, CONTINUE.as_bytes());
        let text = without_date(&ask(&mut client, b"abc"));
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\nhello\n"), "{text}");
    });
}

#[test]
fn target_that_is_no_uri_gets_400() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[listen]\nservice = \"echo\"\nport = 2223\n[metrics]\nport = 2222\n";
        let server = lab.start(config, &[]);
        let _ = server.err().expect(&["listening on 127.0.0.1:2223"]);
        for (method, target, expected) in [
            ("GET", "/metrics", "200"),
            ("GET", "/metrics?a=://b", "200"),
            ("GET", "http://a/metrics", "200"),
            ("GET", "http://[::1]:2222/metrics?a", "200"),
            ("GET", "x?y=://z/metrics", "400"),
            ("GET", "://z/metrics", "400"),
            ("GET", "1http://z/metrics", "400"),
            ("GET", "http:///metrics", "400"),
            ("GET", "http://user@z/metrics", "400"),
            ("GET", "metrics", "400"),
            ("GET", "/metrics%", "400"),
            ("GET", "*", "400"),
            ("GET", "z:443", "400"),
            ("POST", "*", "400"),
            ("CONNECT", "/metrics", "400"),
            ("CONNECT", "z:443", "405"),
            ("OPTIONS", "*", "405"),
        ] {
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert_status(&lab, &request, expected);
        }
    });
}

#[test]
fn control_characters_around_chunks_are_refused() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        for (chunks, expected) in [
            ("3;a=\"b\"\r\nabc\r\n0\r\nA: b\r\n\r\n", "200"),
            ("3;a\0\r\nabc\r\n0\r\n\r\n", "400"),
            ("3;a\x1b\r\nabc\r\n0\r\n\r\n", "400"),
            ("3;a\x7f\r\nabc\r\n0\r\n\r\n", "400"),
            ("3;a\r\n b\r\nabc\r\n0\r\n\r\n", "400"),
            ("3\r\nabc\r\n0\r\nA: b\n\r\n", "400"),
            ("3\r\nabc\r\n0\r\nA: b\r\n\n", "400"),
            ("3\r\nabc\r\n0\r\n\n", "400"),
            ("3\r\nabc\r\n0\r\nA: \0\r\n\r\n", "400"),
            ("3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n", "400"),
        ] {
            let head = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            assert_status(&lab, &format!("{head}{chunks}"), expected);
        }
    });
}

#[test]
fn endless_empty_lines_get_408_at_the_header_timeout() {
    isolated(|| {
        let lab = Lab::new();
        let config =
            format!("{HELLO}[limits]\nheader-timeout = \"700ms\"\nidle-timeout = \"1h\"\n");
        let server = lab.serve(&config, &["-o", "json"]);
        let mut client = lab.connect();
        let ended = Arc::new(AtomicBool::new(false));
        let (mut sender, until) = (client.try_clone().unwrap(), Arc::clone(&ended));
        let begun = Instant::now();
        let sends = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) && sender.write_all(b"\r\n").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        // Bytes that arrive in the meantime must not turn the FIN into a reset.
        let text = without_date(&answer(&mut client));
        assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
        ended.store(true, Ordering::Relaxed);
        sends.join().unwrap();
        assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        drop(client);
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["cut_short"], "header-timeout", "{line}");
    });
}

#[test]
fn overdue_request_gets_408_and_an_idle_connection_nothing() {
    isolated(|| {
        let lab = Lab::new();
        let config =
            format!("{HELLO}[limits]\nheader-timeout = \"400ms\"\nidle-timeout = \"900ms\"\n");
        let server = lab.serve(&config, &["-o", "json"]);
        let wait = |begun: &[u8]| {
            let mut client: TcpStream = lab.connect();
            client.write_all(begun).unwrap();
            without_date(&answer(&mut client))
        };
        let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
        for (n, (begun, answered, status)) in [
            (&b"GET / HT"[..], 0, true),
            (body.as_bytes(), 0, true),
            (&[GET, b"GET"].concat(), 1, true),
            (GET, 1, false),
            (b"", 0, false),
        ]
        .into_iter()
        .enumerate()
        {
            let text = wait(begun);
            assert_eq!(text.matches("HTTP/1.1 200 OK").count(), answered, "{text}");
            assert_eq!(text.contains("HTTP/1.1 408 Request Timeout"), status, "{text}");
            let line = json(&server.out().first(n + 1)[n]);
            let cut = if status { "header-timeout" } else { "idle-timeout" };
            assert_eq!(line["cut_short"], cut, "{line}");
        }
        let text = wait(b"HEAD / HTTP/1.1\r\nHost");
        assert!(text.starts_with("HTTP/1.1 408 ") && text.ends_with("\r\n\r\n"), "{text}");
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
    });
}

#[test]
fn pipelining_client_with_timely_requests_is_never_closed() {
    isolated(|| {
        const TIMEOUT: Duration = Duration::from_secs(2);
        let lab = Lab::new();
        let config = format!("{HELLO}[limits]\nheader-timeout = \"2s\"\nidle-timeout = \"1h\"\n");
        let server = lab.serve(&config, &["-o", "json"]);
        let mut client = lab.connect();
        let (head, rest) = GET.split_at(9);
        client.write_all(head).unwrap();
        let start = Instant::now();
        // There is an unfinished request at each moment, but each only for a tenth of the timeout.
        while start.elapsed() < 2 * TIMEOUT {
            thread::sleep(TIMEOUT / 10);
            client.write_all(&[rest, head].concat()).unwrap();
            let mut response = Vec::new();
            while !response.ends_with(b"\r\n\r\nhello\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                response.extend(byte);
            }
            assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
        let text = without_date(&ask(&mut client, rest));
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let line = json(&server.out().first(1)[0]);
        assert!(line["cut_short"].is_null(), "{line}");
    });
}
