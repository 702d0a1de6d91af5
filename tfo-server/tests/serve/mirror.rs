//! The default service, mirror.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;
use tfo_core::{lab::isolated, probe::mirror};

use crate::support::{Lab, ONE_WORKER, SERVER, answer, ask, json};

fn parsed(line: &[u8]) -> Value {
    json(std::str::from_utf8(line).unwrap())
}

#[test]
fn mirror_reports_how_the_connection_arrived() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(ONE_WORKER, &["-o", "json"]);
        let _cookie = answer(&mut lab.fast_open(&mirror::request("one", 64)));
        let mut client = lab.fast_open(&mirror::request("two", 64));
        let report = parsed(&answer(&mut client));
        assert_eq!(report["token"], "two", "{report}");
        assert_eq!(report["received"], 64, "{report}");
        assert_eq!(report["source"], client.local_addr().unwrap().to_string(), "{report}");
        assert_eq!(report["destination"], "127.0.0.1:2222", "{report}");
        assert_eq!(report["tcp"]["syn_data"], true, "{report}");
        let syn = &report["syn"]["saved"];
        assert_eq!(syn["payload_bytes"], 64, "{report}");
        assert_eq!(syn["fast_open"]["cookie"].as_str().unwrap().len(), 16, "{report}");
        assert_eq!(report["host"]["queue"], 256, "{report}");
        let line = json(&server.out().first(2)[1]);
        assert_eq!(line["verdict"], "fast-open", "{line}");
        assert_eq!(line["syn_bytes"], 64, "{line}");
        assert_eq!(line["cookie"]["bytes"], 8, "{line}");
    });
}

#[test]
fn answer_is_at_most_a_small_multiple_of_its_request() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &[]);
        for size in [1, 20, 32, 64, 1_000, 100_000] {
            let request = mirror::request("a", size);
            let answer = ask(&mut lab.connect(), &request);
            assert_eq!(parsed(&answer)["received"], request.len());
            let limit = (request.len() * 32).min(2048);
            assert!(answer.len() <= limit, "{} B for {} B", answer.len(), request.len());
        }
    });
}

#[test]
fn request_may_arrive_byte_by_byte() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["-o", "json"]);
        let mut client = lab.connect();
        client.set_nodelay(true).unwrap();
        let request = mirror::request("dribble", 64);
        for byte in &request {
            client.write_all(std::slice::from_ref(byte)).unwrap();
        }
        let report = parsed(&answer(&mut client));
        assert_eq!((&report["token"], &report["received"]), (&"dribble".into(), &64.into()));
        drop(client);
        assert_eq!(json(&server.out().first(1)[0])["bytes_in"], 64);
    });
}

#[test]
fn request_may_have_at_most_a_mebibyte() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &[]);
        let report = parsed(&ask(&mut lab.connect(), &mirror::request("big", mirror::MAX_REQUEST)));
        assert_eq!(report["received"], mirror::MAX_REQUEST, "{report}");
        let request = mirror::request("bigger", mirror::MAX_REQUEST + 1);
        let refused = ask(&mut lab.connect(), &request);
        assert_eq!(refused, b"error: the line is longer than 1 MiB\n");
    });
}

#[test]
fn garbage_gets_an_error_line() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["-o", "json"]);
        for garbage in [
            b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"tfo-probe/2 x\n",
            b"tfo-probe/1 a?b\n",
            b"tfo-probe/1 \n",
            b"\n",
            b"\0",
        ] {
            let text = String::from_utf8(ask(&mut lab.connect(), garbage)).unwrap();
            assert!(text.starts_with("error: expected "), "{garbage:?}: {text:?}");
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{garbage:?}: {text:?}");
        }
        let lines = server.out().first(7);
        assert!(lines.iter().all(|line| json(line)["cut_short"].is_null()), "{lines:?}");
    });
}

#[test]
fn incomplete_request_gets_no_answer() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &[]);
        // One without a byte gets a greeting.
        for beginning in ["tfo", "tfo-probe/1 abc", "tfo-probe/1 abc ....."] {
            assert_eq!(ask(&mut lab.connect(), beginning.as_bytes()), b"", "{beginning:?}");
        }
    });
}

#[test]
fn web_client_gets_a_report_of_its_syn() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &[]);
        let text = ask(&mut lab.connect(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert_eq!(json(body)["token"], "http", "{body}");
        assert_eq!(json(body)["syn"]["saved"]["payload_bytes"], 0, "a regular connection");
    });
}

#[test]
fn web_client_is_recognised_in_any_segments() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["-o", "json"]);
        let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for pieces in [
            get.chunks(1).collect::<Vec<_>>(),
            vec![&get[..1], &get[1..]],
            vec![&get[..3], &get[3..]],
            vec![&get[..get.len() - 2], &get[get.len() - 2..]],
        ] {
            let mut client = lab.connect();
            client.set_nodelay(true).unwrap();
            for piece in pieces {
                client.write_all(piece).unwrap();
                // Usually long enough for the server to read the first part.
                thread::sleep(Duration::from_millis(1));
            }
            let text = String::from_utf8(answer(&mut client)).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
            assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
            assert_eq!(json(body)["received"], get.len(), "{body}");
        }
        let lines = server.out().first(4);
        assert!(lines.iter().all(|line| json(line)["cut_short"].is_null()), "{lines:?}");
    });
}

/// Requests and garbage, from one byte on.
const REQUESTS: &[&[u8]] = &[
    b"x",
    b"\n",
    b"\0",
    b"t\n",
    b"GIT / HTTP/1.1\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"tfo-probe/2 a\n",
    b"tfo-probe/1 \n",
    b"tfo-probe/1 a?b\n",
    b"tfo-probe/1 a\n",
    b"tfo-probe/1 a ...........\nmore",
    b"GET \r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\nmore",
];

#[test]
fn no_answer_is_larger_than_its_limit() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &[]);
        for request in REQUESTS {
            let answer = ask(&mut lab.connect(), request);
            let limit = (request.len() * 32).min(2048);
            let shown = request.escape_ascii();
            assert!(answer.len() <= limit, "{} B for {} B: {shown}", answer.len(), request.len());
            assert!(!answer.is_empty(), "{shown}");
        }
    });
}

#[test]
fn mirror_of_the_lab_answers_like_the_server() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve("", &[]);
        let address = SocketAddr::new(SERVER.ip(), 2223);
        lab.host.run(move || {
            let listener = FastOpenListener::bind(address).unwrap();
            thread::spawn(move || serve_mirror(&listener));
        });
        let noise = [&b"tfo-probe/2"[..], &vec![b'x'; 300_000]].concat();
        for request in REQUESTS.iter().copied().chain([&noise[..]]) {
            let [ours, theirs] = [SERVER, address].map(|address| {
                let mut client = lab.host.run(move || TcpStream::connect(address)).unwrap();
                shape(&ask(&mut client, request))
            });
            assert_eq!(ours, theirs, "{}", request.escape_ascii());
        }
    });
}

/// Returns what two mirrors have in common: everything except the evidence of the connection.
fn shape(answer: &[u8]) -> String {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let Some(at) = text.find('{') else { return text };
    let (head, body) = text.split_at(at);
    let parsed = json(body);
    format!("{head}{} {}", parsed["token"], parsed["received"])
}
