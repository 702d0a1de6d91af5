//! A connection that the server closes early is reset: a FIN would make truncated data look complete.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use tfo_core::lab::{Program, isolated};

use crate::support::{Lab, json, pattern};

const PATIENCE: Duration = Duration::from_secs(20);
const LARGE: usize = 20 << 20;

/// The reasons for closing a connection early, with their names in the access log.
const CUTS: [(&str, &str); 3] =
    [("idle", "idle-timeout"), ("drain", "drain-timeout"), ("signal", "second signal")];

/// Returns limits under which only this reason occurs.
fn limits(cut: &str) -> &'static str {
    match cut {
        "idle" => "[limits]\nidle-timeout = \"300ms\"\ndrain-timeout = \"1h\"\n",
        "drain" => "[limits]\nidle-timeout = \"1h\"\ndrain-timeout = \"300ms\"\n",
        _ => "[limits]\nidle-timeout = \"1h\"\ndrain-timeout = \"1h\"\n",
    }
}

fn cut(server: &Program, cut: &str) {
    if cut == "idle" {
        return;
    }
    server.signal("TERM").unwrap();
    let _ = server.err().expect(&["stopped accepting"]);
    if cut == "signal" {
        thread::sleep(Duration::from_millis(250));
        server.signal("TERM").unwrap();
    }
}

/// Reads to the end, which must be a reset. Returns the bytes before it.
fn read_to_reset(stream: &mut TcpStream, name: &str) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut came = Vec::new();
    let end = stream.read_to_end(&mut came);
    assert_eq!(end.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset), "{name}");
    came
}

/// Waits for the connection's line, which is printed when it is closed.
fn expect_line(server: &Program, reason: &str) {
    let line = json(&server.out().first(1)[0]);
    assert_eq!(line["cut_short"], reason, "{line}");
}

#[test]
fn truncated_answer_ends_with_a_reset() {
    isolated(|| {
        for http in [false, true] {
            for (how, reason) in CUTS {
                let lab = Lab::new();
                let file = lab.path("large");
                File::create(&file).unwrap().write_all(&pattern(LARGE)).unwrap();
                let config = format!(
                    "[listen]\nservice = \"respond\"\n[respond]\nhttp = {http}\nfile = {file:?}\n{}",
                    limits(how)
                );
                let server = lab.serve(&config, &["-o", "json"]);
                let mut client = lab.connect();
                client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                // The rest is buffered in the client, on the path, and in the server.
                client.read_exact(&mut vec![0; 1 << 20]).unwrap();
                cut(&server, how);
                expect_line(&server, reason);
                let more = read_to_reset(&mut client, &format!("{reason}, http {http}"));
                assert!(more.len() < LARGE - (1 << 20), "only a part: {}", more.len());
            }
        }
    });
}

/// Returns a client and an upstream that are connected through the server. The client has sent some bytes.
fn forwarded(lab: &Lab, how: &str) -> (Program, TcpStream, TcpStream) {
    let listener = lab.host.run(|| TcpListener::bind("127.0.0.1:8001")).unwrap();
    let idle = if how == "idle" { "300ms" } else { "1h" };
    let config = format!(
        "[listen]\nservice = \"forward\"\n[forward]\nupstreams = [\"127.0.0.1:8001\"]\nhealth-interval = \"0s\"\n\
         idle-timeout = \"{idle}\"\n{}",
        limits(how)
    );
    let server = lab.serve(&config, &["-o", "json"]);
    let mut client = lab.connect();
    client.write_all(b"half of it").unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.read_exact(&mut [0; 10]).unwrap();
    (server, client, upstream)
}

#[test]
fn truncated_forwarded_connection_resets_both_legs() {
    isolated(|| {
        for (how, reason) in CUTS {
            for answered in [false, true] {
                let lab = Lab::new();
                let (server, mut client, mut upstream) = forwarded(&lab, how);
                if answered {
                    upstream.write_all(b"half an answer").unwrap();
                    client.read_exact(&mut [0; 14]).unwrap();
                }
                cut(&server, how);
                expect_line(&server, reason);
                let name = format!("{reason}, answered {answered}");
                assert_eq!(read_to_reset(&mut client, &name), b"");
                assert_eq!(
                    read_to_reset(&mut upstream, &name),
                    b"",
                    "an incomplete upload must not look complete"
                );
            }
        }
    });
}

/// One direction is complete; the other is truncated, and is reset as well.
#[test]
fn truncated_half_closed_connection_ends_with_a_reset() {
    isolated(|| {
        for (how, reason) in CUTS {
            let lab = Lab::new();
            let (server, mut client, mut upstream) = forwarded(&lab, how);
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(upstream.read(&mut [0]).unwrap(), 0, "the end of the upload");
            upstream.write_all(b"half an answer").unwrap();
            client.read_exact(&mut [0; 14]).unwrap();
            cut(&server, how);
            expect_line(&server, reason);
            assert_eq!(read_to_reset(&mut client, reason), b"");
            // The end of its input was read before. After a FIN alone, the first bytes would still be accepted.
            let error = upstream.write_all(b"more of it").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{reason}");
        }
    });
}

/// Nothing is truncated: the connection ends with a FIN.
#[test]
fn complete_answer_ends_with_a_fin_for_any_close_reason() {
    isolated(|| {
        for (how, _) in CUTS {
            let lab = Lab::new();
            let config = format!("[listen]\nservice = \"echo\"\n{}", limits(how));
            let server = lab.serve(&config, &["-o", "json"]);
            let mut client = lab.connect();
            client.write_all(b"whole").unwrap();
            client.read_exact(&mut [0; 5]).unwrap();
            cut(&server, how);
            let _ = server.out().first(1);
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "{how}");
        }
    });
}
