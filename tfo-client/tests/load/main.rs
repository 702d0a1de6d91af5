//! `tfo-client load`, as users run it, against servers that answer, and servers that fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[cfg(test)]
mod counted;
#[cfg(test)]
mod failures;
#[path = "../probe/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the probe")]
mod harness;
#[cfg(test)]
mod output;
#[cfg(test)]
mod pace;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod sources;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tfo_core::host::Counters;
use tfo_core::lab::{self, Finished};
use tfo_core::socket::{FastOpenListener, FastOpenStream};

use harness::Lab;

const PORT: u16 = 2222;

/// Handles a connection of the server, given its number.
type Service = fn(FastOpenStream, usize);

/// Starts a server that handles one connection after another. The channel receives the address of each client.
fn serve(lab: &Lab, service: Service) -> Receiver<SocketAddr> {
    serve_at(lab, SocketAddr::from((lab::SERVER_V4, PORT)), service)
}

fn serve_at(lab: &Lab, address: SocketAddr, service: Service) -> Receiver<SocketAddr> {
    let (sender, peers) = mpsc::channel();
    lab.server.run(move || {
        let listener =
            FastOpenListener::builder(address).backlog(4096).queue(4096).listen().unwrap();
        thread::spawn(move || {
            for number in 0.. {
                let Ok(accepted) = listener.accept() else { continue };
                // Most tests drop the receiver.
                let _ = sender.send(accepted.arrival.peer);
                service(accepted.stream, number);
            }
        });
    });
    peers
}

/// Reads the request's 64 bytes, and answers with two.
fn answer(mut stream: FastOpenStream, _: usize) {
    if stream.read_exact(&mut [0; 64]).is_ok() {
        // The client may have closed already.
        let _ = stream.write_all(b"ok");
    }
}

/// Runs `load` and parses its document, which must match the schema and count each connection once.
fn load(lab: &Lab, arguments: &[&str]) -> (Value, Finished) {
    let (document, ended) = lab.document(&[&["-q", "load"], arguments].concat());
    check(&document);
    assert_eq!(ended.err, "", "{document:#}");
    (document["load"].clone(), ended)
}

fn check(document: &Value) {
    schema::assert_valid(document);
    let load = &document["load"];
    let connections = &load["connections"];
    let number = |name: &str| connections[name].as_u64().unwrap();
    assert_eq!(
        number("replies"),
        verdicts(load).iter().map(|(.., count)| count).sum::<u64>(),
        "{load:#}"
    );
    let errors: u64 =
        load["errors"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(number("errors"), errors, "{load:#}");
    assert_eq!(number("started"), number("replies") + errors + number("unfinished"), "{load:#}");
    let measured = load["times_us"]["reply"]["count"].as_u64().unwrap_or(0);
    assert_eq!(number("replies"), measured, "each reply is timed: {load:#}");
}

/// Returns the verdicts with cause and count.
fn verdicts(load: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let each = load["verdicts"].as_array().unwrap().iter();
    each.map(|it| (text(&it["verdict"]), text(&it["cause"]), it["count"].as_u64().unwrap()))
        .collect()
}

/// Returns the number of connections with this verdict.
fn count(load: &Value, verdict: &str) -> u64 {
    verdicts(load).iter().filter(|(word, ..)| word == verdict).map(|(.., count)| count).sum()
}

/// Returns the kernel's counters of the client's host.
fn counters(lab: &Lab) -> Counters {
    lab.client.run(Counters::read).unwrap()
}

/// Waits a moment. No test depends on the exact time.
fn pause() {
    thread::sleep(Duration::from_millis(20));
}
