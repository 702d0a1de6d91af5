//! A network that repeats a SYN with data: which settings let the server process the data twice.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tfo_core::capture::{Direction, PacketPath, describe};
use tfo_core::lab::{Middlebox, Network, PathSettings, Program, SERVER_V4, SERVER_V6, isolated};
use tfo_core::socket::{FastOpenListener, FastOpenStream};

use crate::support::{Lab, json};

/// Counts the requests, and lets the client close first: a server that closes first remembers the connection for a
/// while, and refuses a repeated SYN.
fn count_requests(lab: &Network) -> Arc<AtomicUsize> {
    let address: SocketAddr = "127.0.0.1:8001".parse().unwrap();
    let listener = lab.server().run(move || FastOpenListener::bind(address)).unwrap();
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        while let Ok(mut accepted) = listener.accept() {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                let mut request = [0; 64];
                while let Ok(1..) = accepted.stream.read(&mut request) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = accepted.stream.write_all(b"paid");
                }
            });
        }
    });
    count
}

/// Returns the last SYN with data that reached the server.
fn syn_with_data(network: &Network) -> PacketPath {
    let packets = network.packets();
    let carries = |packet: &&PacketPath| {
        packet.direction == Direction::ToServer
            && packet.arrived.as_ref().is_some_and(|sight| describe(&sight.frame).syn_data() > 0)
    };
    packets.iter().rfind(carries).expect("a SYN with data was captured").clone()
}

struct Played {
    requests: usize,
    sent: usize,
    lines: Vec<String>,
}

/// Sends three requests of a client. Each SYN with data is repeated: at once by a middlebox, and after the connection
/// has ended.
fn play(early_data: &str, v6: bool) -> Played {
    let network = Network::new(PathSettings::new().boxes(&[Middlebox::DuplicateSyn])).unwrap();
    let requests = count_requests(&network);
    let lab = Lab::new();
    let address = if v6 { SERVER_V6.to_string() } else { SERVER_V4.to_string() };
    let config = format!(
        "[listen]\naddress = {address:?}\nservice = \"forward\"\nearly-data = {early_data:?}\n\
         [forward]\nupstreams = [\"127.0.0.1:8001\"]\nhealth-interval = \"0s\"\n\
         [limits]\nheader-timeout = \"500ms\"\n"
    );
    let server = Program::start(network.server(), lab.command(&config, &["-o", "json"])).unwrap();
    let _ = server.err().expect(&["listening on"]);
    let to = SocketAddr::new(Network::server_address(v6), 2222);
    let mut lines = 0;
    for n in 0..3 {
        let mut client =
            network.client().run(move || FastOpenStream::connect(to, b"pay 10")).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"paid");
        assert_eq!(client.info().unwrap().syn_data, n > 0, "request {n} is in the SYN");
        drop(client);
        lines += 1;
        let _ = server.out().first(lines);
        network.settle(Duration::from_millis(20));
        if n > 0 {
            network.repeat(&syn_with_data(&network)).unwrap();
            lines += 1;
            let _ = server.out().first(lines);
        }
    }
    let lines = server.out().first(lines);
    Played { requests: requests.load(Ordering::SeqCst), sent: 3, lines }
}

#[test]
fn await_handshake_prevents_replayed_requests() {
    isolated(|| {
        for v6 in [false, true] {
            let accepted = play("accept", v6);
            assert_eq!(accepted.requests, accepted.sent + 2, "replayed without await-handshake");
            let awaited = play("await-handshake", v6);
            assert_eq!(
                awaited.requests, awaited.sent,
                "each request arrives once: {:#?}",
                awaited.lines
            );
            let repeated: Vec<_> = awaited
                .lines
                .iter()
                .map(|line| json(line))
                .filter(|line| line["bytes_in"] == 0)
                .collect();
            assert_eq!(repeated.len(), 2, "{:#?}", awaited.lines);
            for line in repeated {
                assert_eq!(
                    line["evidence"]["tcp"]["syn_data"], true,
                    "the data was accepted: {line}"
                );
                assert!(line["upstream"].is_null(), "but did not reach an upstream: {line}");
            }
        }
    });
}
