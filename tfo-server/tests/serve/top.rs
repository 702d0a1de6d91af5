//! `top` with a malicious server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tfo_core::lab::isolated;

use crate::support::Lab;

const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9413);
const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
const BUILD: &str = "tfo_server_build_info{version=\"1\"} 1\n";

/// Runs `top` with an endpoint that answers this way.
fn top(arguments: &[&str], answer: impl Fn(&mut TcpStream) + Send + 'static) -> Output {
    let lab = Lab::new();
    let listener = lab.host.run(|| TcpListener::bind(AT)).unwrap();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        answer(&mut stream);
        // Close without unread bytes, so that the end is not a reset.
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let command =
        lab.command("", &[&["top", "-q", "--from", "127.0.0.1:9413"], arguments].concat());
    lab.host.output(command).unwrap()
}

fn failure(answer: impl Fn(&mut TcpStream) + Send + 'static) -> String {
    let output = top(&[], answer);
    let why = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(
        why.starts_with("error: can't read metrics from http://127.0.0.1:9413/metrics: "),
        "{why}"
    );
    assert_eq!(why.lines().count(), 1, "{why}");
    why
}

#[test]
fn answer_byte_by_byte_is_abandoned() {
    isolated(|| {
        let why = failure(|stream| {
            let endless = OK.bytes().chain(std::iter::repeat(b'#'));
            for byte in endless {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        assert!(why.contains("not complete after 5s"), "{why}");
    });
}

#[test]
fn endless_answer_is_reported_as_truncated() {
    isolated(|| {
        let why = failure(|stream| {
            stream.write_all(OK.as_bytes()).unwrap();
            while stream.write_all(BUILD.repeat(1000).as_bytes()).is_ok() {}
        });
        assert!(why.contains("the answer is truncated: it is larger than 32 MiB"), "{why}");
        let why = failure(|stream| {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
            stream.write_all([head, BUILD].concat().as_bytes()).unwrap();
        });
        assert!(why.contains("the answer is truncated: received 37 of 1000 bytes"), "{why}");
    });
}

#[test]
fn time_for_many_listeners_is_linear_in_the_lines() {
    const MANY: usize = 50_000;
    isolated(|| {
        let output = top(&[], |stream| {
            let mut text = format!("{OK}{BUILD}");
            for number in 0..MANY {
                let one = format!("listener=\"{number}\",service=\"echo\"");
                text += &format!("tfo_server_accepted_total{{{one}}} 1\n");
                let same = "listener=\"0\",service=\"echo\"";
                text += &format!("tfo_server_accepted_total{{{same}}} 1\n");
                text += &format!("tfo_server_connections_total{{{same},cause=\"{number}\"}} 1\n");
                text +=
                    &format!("tfo_server_upstream_up{{listener=\"0\",upstream=\"{number}\"}} 1\n");
                text += "tfo_kernel_fast_open_passive_total 1\n";
            }
            stream.write_all(text.as_bytes()).unwrap();
        });
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let row = text.lines().find(|line| line.starts_with("0  ")).unwrap();
        let accepted = row.split_ascii_whitespace().nth(3);
        assert_eq!(accepted, Some((MANY + 1).to_string().as_str()), "{row}");
        let counted = format!("\n{MANY:>9}  incoming, valid SYN, with or without data\n");
        assert!(text.contains(&counted), "sum of all lines");
        assert_eq!(
            text.lines().filter(|line| line.ends_with("0 B")).count(),
            MANY,
            "one row per listener"
        );
    });
}

#[test]
fn control_characters_are_escaped_in_text_and_json() {
    isolated(|| {
        let lie = |stream: &mut TcpStream| {
            let evil = "\x1b[2J\u{9b}31m\u{7f}\\nforged";
            let text = format!(
                "{OK}tfo_server_build_info{{version=\"{evil}\"}} 1\n\
                 tfo_server_accepted_total{{listener=\"{evil}\",service=\"{evil}\"}} 1\n\
                 tfo_server_key_info{{role=\"{evil}\",fingerprint=\"{evil}\"}} 1\n\
                 tfo_kernel_{evil}_total 1\n"
            );
            stream.write_all(text.as_bytes()).unwrap();
        };
        for format in ["text", "json"] {
            let output = top(&["-o", format], lie);
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(0), "{text}");
            let control = |c: char| c.is_control() && c != '\n';
            assert!(!text.contains(control), "{format}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("forged")), "{format}: {text}");
            if format == "json" {
                let document: Value = serde_json::from_str(&text).unwrap();
                let version = &document["metrics"][0]["labels"]["version"];
                assert_eq!(version, "\x1b[2J\u{9b}31m\u{7f}\nforged", "unchanged in JSON");
            }
        }
    });
}
