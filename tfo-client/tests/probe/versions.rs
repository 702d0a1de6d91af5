//! Programs of the mirror's first version and of this one, together: `version-1/` has the bytes that the old ones sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tfo_core::lab::{SERVER_V4, isolated};
use tfo_core::socket::{FastOpenListener, FastOpenStream};

use crate::harness::{Lab, each, json};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVER_V4), 2222);

/// The request of an old client.
const REQUEST: &[u8] = include_bytes!("version-1/request");
/// The answers of an old server: to a client that asks for a cookie, to one that sends it, and to one whose option was
/// stripped.
const ASKED: &str = include_str!("version-1/asked.json");
const SENT: &str = include_str!("version-1/sent.json");
const STRIPPED: &str = include_str!("version-1/stripped.json");

/// Asserts that an old client knows each field: it refuses others, but for counters.
fn assert_known(answer: &Value, old: &Value, path: &str) {
    let Some(fields) = answer.as_object().filter(|_| path != ".counters") else { return };
    for (name, value) in fields {
        assert!(old.get(name).is_some(), "an old client does not know {path}.{name}: {answer}");
        assert_known(value, &old[name], &format!("{path}.{name}"));
    }
}

#[test]
fn old_client_gets_only_fields_that_it_knows() {
    isolated(|| {
        let lab = Lab::new();
        // A server that knows its keys has more to say.
        lab.set_on_server("net/ipv4/tcp_fastopen_key", "00000001-00000002-00000003-00000004");
        let Some(_server) = lab.serve_all(&[]) else { return };
        for (old, in_syn) in [(ASKED, 0), (SENT, 64)] {
            let answer = lab.client.run(|| {
                let mut stream = FastOpenStream::connect(SERVER, REQUEST).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            let beginning = r#"{"tfo_mirror":1,"token":"47f1c7","received":64,"#;
            assert!(answer.starts_with(beginning), "an old client looks for this: {answer}");
            let answer = json(&answer);
            assert_eq!(answer["syn"]["saved"]["payload_bytes"], in_syn, "{answer}");
            assert_known(&answer, &json(old), "");
        }
    });
}

/// Answers each connection with the next of these answers, for the token and the addresses of the connection.
fn old_server(lab: &Lab, answers: &'static [&'static str]) {
    let listener = lab.server.run(|| FastOpenListener::bind(SERVER)).unwrap();
    thread::spawn(move || {
        for answer in answers {
            let accepted = listener.accept().unwrap();
            let mut stream = accepted.stream;
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut request = String::new();
            BufReader::new(&mut stream).read_line(&mut request).unwrap();
            let mut answer = json(answer);
            answer["token"] = request.split(' ').nth(1).unwrap().into();
            answer["source"] = stream.peer_addr().unwrap().to_string().into();
            answer["destination"] = stream.local_addr().unwrap().to_string().into();
            writeln!(stream, "{answer}").unwrap();
        }
    });
}

#[test]
fn answers_of_an_old_server_are_evidence() {
    isolated(|| {
        let lab = Lab::new();
        old_server(&lab, &[ASKED, SENT]);
        let (document, ended) = lab.document(&["-n", "2"]);
        assert!(!ended.err.contains("ignoring"), "{}", ended.err);
        assert_eq!(each(&document, "verdict"), ["cookie-granted", "fast-open"], "{document}");
        for (connection, old) in
            document["connections"].as_array().unwrap().iter().zip([ASKED, SENT])
        {
            let (server, old) = (&connection["evidence"]["server"], json(old));
            for field in ["syn", "host"] {
                assert_known(&old[field], &server[field], field);
                assert_eq!(old[field]["saved"]["options"], server[field]["saved"]["options"]);
            }
            assert_eq!(server["counters"]["connections"], 1, "{server}");
        }
    });
}

/// Without a `TSval` nothing tells whether the SYN that an old server saw is the client's or a proxy's.
#[test]
fn old_server_leaves_a_proxy_possible() {
    isolated(|| {
        let lab = Lab::new();
        lab.set_server_bits(1);
        old_server(&lab, &[STRIPPED]);
        let (document, _) = lab.document(&["-n", "1"]);
        let connection = &document["connections"][0];
        assert_eq!(connection["verdict"], "fallback", "{document}");
        let candidates = serde_json::json!(["proxied", "option-stripped"]);
        assert_eq!(connection["candidates"], candidates, "{document}");
    });
}
