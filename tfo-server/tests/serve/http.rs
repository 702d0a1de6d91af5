//! The HTTP service, with curl and with handwritten requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tfo_core::lab::{isolated, require};

use crate::support::{Lab, answer, clean, json, pattern};

const HELLO: &str =
    "[listen]\nservice = \"respond\"\n[respond]\nbody = \"hello\\n\"\nhttp = true\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Returns curl's output for this server, or `None` if curl is not installed.
fn curl(lab: &Lab, arguments: &[&str]) -> Option<String> {
    if !require("curl") {
        return None;
    }
    let mut command = clean(Command::new("curl"));
    command.args(["-q", "-sS", "--max-time", "20", "--noproxy", "*"]).args(arguments);
    let output = lab.host.output(command).unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    assert!(output.status.success(), "{arguments:?}: {out}{}", String::from_utf8_lossy(&err));
    Some(out)
}

const URL: &str = "http://127.0.0.1:2222/";

/// Reads one response whose head contains the length of its body.
fn response(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

#[test]
fn curl_sends_two_requests_on_one_connection() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(HELLO, &["-o", "json"]);
        let format = "%{http_version} %{http_code} %{num_connects}\n";
        let Some(text) = curl(&lab, &["-w", format, URL, URL]) else { return };
        assert_eq!(
            text, "hello\n1.1 200 1\nhello\n1.1 200 0\n",
            "the second request reuses the connection"
        );
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["service"], "respond", "{line}");
        assert!(line["cut_short"].is_null(), "{line}");
    });
}

#[test]
fn curl_gets_correct_answers_with_all_options() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        let code = ["-o", "/dev/null", "-w", "%{http_code} %{content_type}"];
        for (arguments, expected) in [
            (&["--http1.0"][..], "200 text/plain; charset=utf-8"),
            (&["--http1.0", "-H", "Connection: keep-alive"], "200 text/plain; charset=utf-8"),
            (&["--tcp-fastopen"], "200 text/plain; charset=utf-8"),
            (&["-d", "a body"], "405 text/plain; charset=utf-8"),
            (&["-X", "BREW"], "501 text/plain; charset=utf-8"),
            (&["-H", "Host:"], "400 text/plain; charset=utf-8"),
            (
                &["-X", "GET", "-d", "x", "-H", "Transfer-Encoding: chunked"],
                "200 text/plain; charset=utf-8",
            ),
            (
                &["-H", "Expect: 100-continue", "-T", "/proc/self/status"],
                "405 text/plain; charset=utf-8",
            ),
        ] {
            let all = [arguments, &code, &[URL]].concat();
            let Some(text) = curl(&lab, &all) else { return };
            assert_eq!(text, expected, "{arguments:?}");
        }
        let Some(head) = curl(&lab, &["-I", URL]) else { return };
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 6\r\nDate: "), "{head}");
        assert!(head.ends_with("GMT\r\n\r\n"), "{head}");
    });
}

#[test]
fn request_in_the_syn_is_answered() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(HELLO, &["-o", "json"]);
        for n in 0..2 {
            let mut client = lab.fast_open(LAST);
            let text = String::from_utf8(answer(&mut client)).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(text.ends_with("\r\nConnection: close\r\n\r\nhello\n"), "{text}");
            assert_eq!(client.info().unwrap().syn_data, n > 0, "connection {n}");
        }
        let lines: Vec<_> = server.out().first(2).iter().map(|line| json(line)).collect();
        assert_eq!(lines[1]["verdict"], "fast-open", "{}", lines[1]);
        assert_eq!(lines[1]["syn_bytes"], LAST.len(), "{}", lines[1]);
    });
}

#[test]
fn requests_byte_by_byte_and_at_once_get_the_same_answer() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        let mut client = lab.connect();
        client.set_nodelay(true).unwrap();
        for byte in GET {
            client.write_all(&[*byte]).unwrap();
        }
        assert_eq!(response(&mut client).1, b"hello\n");
        client.write_all(&[GET, GET, GET].concat()).unwrap();
        for _ in 0..3 {
            assert_eq!(response(&mut client).1, b"hello\n");
        }
        client.write_all(LAST).unwrap();
        let rest = answer(&mut client);
        assert!(rest.ends_with(b"Connection: close\r\n\r\nhello\n"), "followed by the end");
    });
}

#[test]
fn large_body_reaches_a_slow_reader_completely() {
    isolated(|| {
        let lab = Lab::new();
        let body = pattern(5_000_000);
        std::fs::write(lab.path("body"), &body).unwrap();
        let config = format!(
            "[listen]\nservice = \"respond\"\n[respond]\nfile = \"{}\"\nhttp = true\n\
             content-type = \"application/octet-stream\"\n",
            lab.path("body").display()
        );
        let _server = lab.serve(&config, &[]);
        let mut client = lab.connect();
        client.write_all(&[GET, GET].concat()).unwrap();
        // Long enough for the socket's buffer to be full.
        thread::sleep(Duration::from_millis(100));
        for _ in 0..2 {
            let (head, got) = response(&mut client);
            assert!(head.contains("Content-Type: application/octet-stream\r\n"), "{head}");
            assert!(got == body, "the body must be unchanged");
        }
    });
}

#[test]
fn slow_request_is_closed_but_an_idle_connection_is_not() {
    isolated(|| {
        let lab = Lab::new();
        let config =
            format!("{HELLO}[limits]\nheader-timeout = \"500ms\"\nidle-timeout = \"1h\"\n");
        let server = lab.serve(&config, &["-o", "json"]);
        let mut idle = lab.connect();
        idle.write_all(GET).unwrap();
        assert_eq!(response(&mut idle).1, b"hello\n");
        let mut slow = lab.connect();
        // The complete request would take some minutes.
        let mut sent = 0;
        while slow.write_all(b"G").is_ok() && sent < 1000 {
            sent += 1;
            thread::sleep(Duration::from_millis(100));
        }
        assert!(sent < 1000, "the server did not close it");
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["cut_short"], "header-timeout", "{line}");
        idle.write_all(GET).unwrap();
        assert_eq!(response(&mut idle).1, b"hello\n", "between requests only idle-timeout applies");
    });
}

#[test]
fn malformed_request_gets_an_answer_and_no_reset() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(HELLO, &[]);
        let mut client = lab.connect();
        // More than is read at once: with a reset the answer would be lost.
        let noise = [b"\x16\x03\x01 no HTTP\r\n".as_slice(), &pattern(300_000)].concat();
        client.write_all(&noise).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let text = String::from_utf8(answer(&mut client)).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    });
}

#[test]
fn stopping_server_closes_idle_and_answers_begun_requests() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!("{HELLO}[limits]\ndrain-timeout = \"1h\"\nidle-timeout = \"1h\"\n");
        let server = lab.serve(&config, &["-o", "json"]);
        let (mut idle, mut begun) = (lab.connect(), lab.connect());
        idle.write_all(GET).unwrap();
        assert_eq!(response(&mut idle).1, b"hello\n");
        begun.write_all(&[GET, &GET[..9]].concat()).unwrap();
        assert_eq!(response(&mut begun).1, b"hello\n");
        server.signal("TERM").unwrap();
        assert_eq!(answer(&mut idle), b"", "idle connections are closed at once");
        begun.write_all(&GET[9..]).unwrap();
        let text = String::from_utf8(answer(&mut begun)).unwrap();
        assert!(text.ends_with("\r\nConnection: close\r\n\r\nhello\n"), "{text}");
        drop((idle, begun));
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(!ended.out.contains("timeout"), "{}", ended.out);
    });
}
