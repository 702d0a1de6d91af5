//! Fast open saves the round trip: on a path with a delay, the first segment of each answer leaves the server before
//! the client's ACK arrives there, for every service. The test compares packets, not durations.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tfo_core::capture::{Direction, PacketPath, describe};
use tfo_core::lab::{Network, PathSettings, Program, isolated};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::Attempt;
use tfo_core::socket::{Connector, FastOpenListener, FastOpenStream};

use crate::support::Lab;

/// Half of it is much longer than the server takes to answer, even on a busy machine.
const ROUND_TRIP: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(20);
const CLOSING_UPSTREAM: &str = "127.0.0.1:8001";
const STAYING_UPSTREAM: &str = "127.0.0.1:8002";
const FIRST_PORT: u16 = 3000;

/// A service with its settings, what its client sends in the SYN, and the beginning of the answer.
struct Case {
    name: &'static str,
    listen: String,
    request: Vec<u8>,
    answer: &'static str,
}

fn case(
    name: &'static str,
    listen: &str,
    request: impl Into<Vec<u8>>,
    answer: &'static str,
) -> Case {
    Case { name, listen: listen.to_owned(), request: request.into(), answer }
}

fn cases() -> Vec<Case> {
    let respond = "service = \"respond\"\n[listen.respond]\nbody = \"fixed\"\n";
    let large = format!(
        "service = \"respond\"\n[listen.respond]\nbody = \"fixed{}\"\n",
        "x".repeat(40_000)
    );
    let http = "service = \"respond\"\n[listen.respond]\nhttp = true\nbody = \"fixed\"\n";
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let padded = get(&format!("X: {}\r\n", "x".repeat(900)));
    let mirrored = "{\"tfo_mirror\"";
    let mut cases = vec![
        case("mirror", "", "tfo-probe/1 a\n", mirrored),
        case("mirror, long request", "", format!("tfo-probe/1 a {}\n", "x".repeat(1000)), mirrored),
        case("mirror, web client", "", get(""), "HTTP/1.0 200"),
        case("mirror, refusal", "", "what is this\n", "error: "),
        case("echo", "service = \"echo\"\n", "hello", "hello"),
        case("respond, short request", respond, "hello", "fixed"),
        case("respond, long request", respond, "x".repeat(1000), "fixed"),
        case("respond, long answer", &large, "x".repeat(600), "fixed"),
        case("http, kept alive", http, get(""), "HTTP/1.1 200"),
        case("http, close", http, get("Connection: close\r\n"), "HTTP/1.1 200"),
        case(
            "http, long request and close",
            http,
            padded.replace("X: ", "Connection: close\r\nX: "),
            "HTTP/1.1 200",
        ),
        case("http, pipelined", http, get("").repeat(5), "HTTP/1.1 200"),
        case("http, HEAD", http, get("").replace("GET", "HEAD"), "HTTP/1.1 200"),
        case("http, bad request", http, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
        case(
            "http, error and more",
            http,
            format!("GET / HTTP/1.1\r\n\r\n{padded}"),
            "HTTP/1.1 400",
        ),
        case("http, other method", http, get("").replace("GET", "DELETE"), "HTTP/1.1 405"),
    ];
    for (name, upstream) in [("closing", CLOSING_UPSTREAM), ("staying", STAYING_UPSTREAM)] {
        for header in ["off", "v1", "v2"] {
            let listen = format!(
                "service = \"forward\"\n[listen.forward]\nupstreams = [\"{upstream}\"]\nhealth-interval = \"0s\"\n\
                 proxy-protocol = \"{header}\"\n"
            );
            let name = if name == "closing" {
                "forward, upstream closes"
            } else {
                "forward, upstream stays"
            };
            cases.push(case(name, &listen, "question", "answer"));
        }
    }
    let proxied: Vec<_> = cases.iter().map(behind_a_proxy).collect();
    cases.extend(proxied);
    cases
}

/// Returns the same case with a PROXY header in front of the request.
fn behind_a_proxy(case: &Case) -> Case {
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 1234 443\r\n";
    Case {
        name: case.name,
        listen: format!("proxy-protocol = \"required\"\n{}", case.listen),
        request: [header, &case.request[..]].concat(),
        answer: case.answer,
    }
}

/// Starts an upstream that answers each connection, and closes it if `closes`.
fn upstream(network: &Network, address: &'static str, closes: bool) {
    let listener = network.server().run(move || TcpListener::bind(address)).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                // The header may arrive first, in the same segment.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"answer");
                if !closes {
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
        }
    });
}

/// Starts the program with a listener for each case, from this port on.
fn serve(
    network: &Network,
    lab: &Lab,
    cases: &[Case],
    port: u16,
    evidence: &str,
    early: &str,
) -> Program {
    let mut config = format!("output.lines = false\nengine.evidence = \"{evidence}\"\n");
    let mut next = port;
    for v6 in [false, true] {
        let address = Network::server_address(v6);
        for case in cases {
            let _ = write!(
                config,
                "[[listen]]\naddress = \"{address}\"\nport = {next}\nearly-data = \"{early}\"\n{}",
                case.listen
            );
            next += 1;
        }
    }
    let server = Program::start(network.server(), lab.command(&config, &[])).unwrap();
    let _ = server.err().expect(&["info: keys: "]);
    server
}

fn connect(network: &Network, to: SocketAddr, first: &[u8]) -> FastOpenStream {
    let first = first.to_vec();
    network.client().run(move || Connector::default().connect_nonblocking(to, &first)).unwrap()
}

/// Requests a cookie of this server.
fn fetch_cookie(network: &Network, v6: bool, port: u16) {
    let to = SocketAddr::new(Network::server_address(v6), port);
    let request = b"tfo-probe/1 a\n";
    for _ in 0..2 {
        let connector = Connector::default().timeout(PATIENCE);
        let mut stream = network.client().run(move || connector.connect(to, request)).unwrap();
        if matches!(stream.attempt(), Some(Attempt::InSyn(_))) {
            return;
        }
        let _ = stream.read_to_end(&mut Vec::new());
    }
    panic!("no cookie for {to}");
}

/// Reads the beginning of the answer.
fn read_answer(stream: FastOpenStream, len: usize) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut stream = stream;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = vec![0; len];
        match stream.read_exact(&mut answer) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => answer.clear(),
            Err(e) => panic!("{e}"),
        }
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        answer
    })
}

/// When the first segment of the answer was sent, and when the client's first ACK arrived.
#[derive(Debug, Default, Clone, Copy)]
struct Times {
    answer_left: Option<Duration>,
    ack_arrived: Option<Duration>,
}

/// Returns the times by the ports of client and server.
fn times(packets: &[PacketPath]) -> HashMap<(u16, u16), Times> {
    let mut all = HashMap::<_, Times>::new();
    for packet in packets {
        let Some(sent) = &packet.sent else { continue };
        let frame = &sent.frame;
        let tcp = 14 + if frame[14] >> 4 == 6 { 40 } else { 20 };
        let port = |at: usize| u16::from_be_bytes([frame[tcp + at], frame[tcp + at + 1]]);
        let syn = frame[tcp + 13] & 2 != 0;
        if packet.direction == Direction::ToClient {
            let times = all.entry((port(2), port(0))).or_default();
            if !syn && describe(frame).payload() > 0 {
                times.answer_left.get_or_insert(sent.at);
            }
        } else if !syn && let Some(arrived) = &packet.arrived {
            all.entry((port(0), port(2))).or_default().ack_arrived.get_or_insert(arrived.at);
        }
    }
    all
}

/// Connects to all listeners at once. Returns when each answer was sent.
fn answers(network: &Network, cases: &[Case], port: u16) -> Vec<(String, Times)> {
    let mut open = Vec::new();
    let mut next = port;
    for v6 in [false, true] {
        for case in cases {
            let to = SocketAddr::new(Network::server_address(v6), next);
            let stream = connect(network, to, &case.request);
            let len = case.request.len();
            assert_eq!(stream.attempt(), Some(Attempt::InSyn(len)), "{} at {to}", case.name);
            let ports = (stream.local_addr().unwrap().port(), next);
            let proxied = case.listen.starts_with("proxy-protocol");
            let name = format!("{}, {}, PROXY {proxied}: {}", case.name, to.ip(), case.listen);
            open.push((name, ports, case.answer, read_answer(stream, case.answer.len())));
            next += 1;
        }
    }
    for (name, _, expected, answer) in &mut open {
        let answer = std::mem::replace(answer, thread::spawn(Vec::new)).join().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), *expected, "{name}");
    }
    network.settle(ROUND_TRIP);
    let times = times(&network.packets());
    open.into_iter().map(|(name, ports, ..)| (name, times[&ports])).collect()
}

fn network() -> Network {
    let network = Network::new(PathSettings::new().round_trip(ROUND_TRIP)).unwrap();
    upstream(&network, CLOSING_UPSTREAM, true);
    upstream(&network, STAYING_UPSTREAM, false);
    network
}

fn is_early(times: Times) -> bool {
    times.answer_left.unwrap() < times.ack_arrived.unwrap()
}

#[test]
fn answers_of_every_service_leave_before_the_ack() {
    isolated(|| {
        let (network, cases) = (network(), cases());
        for (evidence, port) in [("full", FIRST_PORT), ("counters", FIRST_PORT + 500)] {
            let lab = Lab::new();
            let server = serve(&network, &lab, &cases, port, evidence, "accept");
            for v6 in [false, true] {
                // The first case of this address family.
                let first = if v6 { port + u16::try_from(cases.len()).unwrap() } else { port };
                fetch_cookie(&network, v6, first);
            }
            let late: Vec<_> = answers(&network, &cases, port)
                .into_iter()
                .filter(|(_, times)| !is_early(*times))
                .map(|(name, times)| format!("{name} {times:?}"))
                .collect();
            assert!(late.is_empty(), "evidence {evidence}: {}", late.join("\n"));
            drop(server);
        }
        assert_eq!(network.missed(), 0);
    });
}

#[test]
fn await_handshake_answers_after_the_ack() {
    isolated(|| {
        let (network, cases, lab) = (network(), cases(), Lab::new());
        let server = serve(&network, &lab, &cases, FIRST_PORT, "full", "await-handshake");
        let v6_port = FIRST_PORT + u16::try_from(cases.len()).unwrap();
        fetch_cookie(&network, false, FIRST_PORT);
        fetch_cookie(&network, true, v6_port);
        for (name, times) in answers(&network, &cases, FIRST_PORT) {
            assert!(!is_early(times), "{name} {times:?}");
        }
        drop(server);
    });
}

#[test]
fn mirror_of_the_lab_answers_before_the_ack() {
    isolated(|| {
        let network = network();
        let cases: Vec<_> = cases().into_iter().filter(|case| case.listen.is_empty()).collect();
        let mut port = FIRST_PORT;
        for v6 in [false, true] {
            for _ in &cases {
                let address = SocketAddr::new(Network::server_address(v6), port);
                network.server().run(move || {
                    let listener = FastOpenListener::bind(address).unwrap();
                    thread::spawn(move || serve_mirror(&listener));
                });
                port += 1;
            }
        }
        let v6_port = FIRST_PORT + u16::try_from(cases.len()).unwrap();
        fetch_cookie(&network, false, FIRST_PORT);
        fetch_cookie(&network, true, v6_port);
        for (name, times) in answers(&network, &cases, FIRST_PORT) {
            assert!(is_early(times), "{name} {times:?}");
        }
    });
}
