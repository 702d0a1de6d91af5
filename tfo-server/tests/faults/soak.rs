//! All faults and loads at once: for seconds in CI, and for `TFO_SOAK` seconds on request:
//! `TFO_SOAK=3600 cargo test --release -p tfo-server --test faults -- soak --nocapture`

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use tfo_core::lab::{Host, Program, isolated};
use tfo_core::socket::{Connector, Method, option};

use crate::load::{Load, ask};
use crate::support::{Lab, SERVER, descriptors, json, memory, until};

const IDLE_AT_A_TIME: usize = 200;
/// The answers between which reloads switch.
const BODIES: [&str; 2] = ["short</end>", "another body</end>"];

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(SERVER.ip(), port)
}

fn config(body: &str) -> String {
    format!(
        "[[listen]]\nservice = \"echo\"\n[[listen]]\nport = 2223\n[[listen]]\nport = 2224\nservice = \"respond\"\n\
         [[listen]]\nport = 2225\nservice = \"discard\"\n[[listen]]\nport = 2226\nservice = \"forward\"\n\
         [[listen]]\nport = 2227\nservice = \"forward\"\n[listen.forward]\nupstreams = [\"127.0.0.1:2228\"]\n\
         health-interval = \"0ms\"\nproxy-protocol = \"v2\"\n\
         [[listen]]\nport = 2228\nservice = \"echo\"\nproxy-protocol = \"required\"\n\
         [[listen]]\nport = 2229\nservice = \"respond\"\nproxy-protocol = \"required\"\n\
         [forward]\nupstreams = [\"{SERVER}\"]\nhealth-interval = \"0ms\"\n[respond]\nhttp = true\nbody = \"{body}\"\n\
         [engine]\nworkers = 2\n[metrics]\nport = 9090\n[limits]\nidle-timeout = \"1s\"\nheader-timeout = \"1s\"\n\
         [output]\nformat = \"json\"\nlines = false\n"
    )
}

/// Clients of several kinds, with the number of rounds per kind. Each ends soon after `stop`.
struct Crowd {
    clients: Vec<JoinHandle<u64>>,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    fn start(host: &Host, kinds: &[fn()]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |once: &fn()| {
            let (once, stop) = (*once, Arc::clone(&stop));
            let client = move || {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    once();
                    rounds += 1;
                }
                rounds
            };
            host.run(|| thread::spawn(client))
        };
        Self { clients: kinds.iter().map(client).collect(), stop }
    }

    fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

/// Returns a text that no other client sends.
fn marker() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("marker-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Sends a request to the mirror, and reads its line.
fn probe() {
    let marker = marker();
    let request = format!("tfo-probe/1 {marker}\n");
    let mut stream = Connector::default().connect(at(2223), request.as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_to_string(&mut line).unwrap();
    let begin = format!("{{\"tfo_mirror\":1,\"token\":\"{marker}\",");
    assert!(line.starts_with(&begin) && line.ends_with("}\n"), "{line:?}");
}

/// Sends ten requests on one connection, in pieces.
fn keep_alive() {
    ask_http(2224, "");
}

/// The same behind a proxy.
fn behind_a_proxy() {
    ask_http(2229, "PROXY TCP4 192.0.2.7 198.51.100.9 1234 443\r\n");
}

fn ask_http(port: u16, header: &str) {
    let mut stream = TcpStream::connect(at(port)).unwrap();
    stream.write_all(header.as_bytes()).unwrap();
    for _ in 0..10 {
        let rest = format!("st: soak\r\nX-Marker: {}\r\n\r\n", marker());
        for piece in ["GET / HTTP/1.1\r\nHo", &rest] {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"</end>") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: "), "{answer}");
        assert!(BODIES.contains(&body) && !answer.contains("marker-"), "{answer}");
    }
}

/// Sends SYN data, or half of a request, and resets.
fn reset() {
    for (port, method) in [(2222, Method::SendTo), (2223, Method::Off), (2224, Method::SendTo)] {
        let stream = Connector::default().method(method).connect(at(port), b"GET / HT").unwrap();
        option::set_linger(&stream, Some(Duration::ZERO)).unwrap();
        drop(stream);
        sleep(Duration::from_millis(2));
    }
}

/// Connects, sends nothing, and waits until the server closes.
fn idle() {
    let connect = |number| TcpStream::connect(at(2222 + number % 3)).unwrap();
    let crowd: Vec<_> = (0..u16::try_from(IDLE_AT_A_TIME).unwrap()).map(connect).collect();
    for mut stream in crowd {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.read(&mut [0]).expect("the server closes it");
    }
}

/// Sends more than the buffers hold to a listener that discards it.
fn bulk() {
    let mut stream = TcpStream::connect(at(2225)).unwrap();
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0]);
}

/// Connects through this server to itself, so that fast open is used on both legs.
fn relayed() {
    let in_syn = ask(at(2226), Method::SendTo, marker().as_bytes());
    in_syn.expect("the marker is echoed");
}

/// The same with a PROXY header, which one half sends and the other reads.
fn relayed_with_header() {
    let in_syn = ask(at(2227), Method::SendTo, marker().as_bytes());
    in_syn.expect("the marker is echoed");
}

/// Returns the kernel's counter of connections that listeners of this host have established.
fn passive_opens(host: &Host) -> u64 {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).unwrap();
    let mut tcp = text.lines().filter(|line| line.starts_with("Tcp:"));
    let mut columns = tcp.next().unwrap().split_ascii_whitespace();
    let column = columns.position(|name| name == "PassiveOpens").unwrap();
    tcp.next().unwrap().split_ascii_whitespace().nth(column).unwrap().parse().unwrap()
}

/// Reads the metrics, as Prometheus would.
fn scrape(host: &Host) -> String {
    let mut stream = host.run(|| TcpStream::connect(at(9090))).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: tfo\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Returns the sum of this counter over all listeners, services and verdicts.
fn sum(metrics: &str, name: &str) -> u64 {
    let samples: Vec<u64> = metrics
        .lines()
        .filter(|line| line.starts_with(name))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!samples.is_empty(), "no {name} in {metrics}");
    samples.iter().sum()
}

/// Returns the peak memory in each half of the time.
fn watch(server: &Program, lab: &Lab, time: Duration) -> [u64; 2] {
    let start = Instant::now();
    let mut most = [0, 0];
    let mut round = 0;
    while start.elapsed() < time {
        let settings = match round % 4 {
            0 => config(BODIES[0]),
            2 => "[listen]\nport = 0\n".to_owned(),
            _ => config(BODIES[1]),
        };
        lab.config(&settings);
        server.signal("HUP").unwrap();
        sleep(Duration::from_millis(250));
        let half = usize::from(start.elapsed() > time / 2);
        most[half] = most[half].max(memory(server));
        round += 1;
    }
    most
}

#[test]
fn soak() {
    isolated(|| {
        let seconds =
            env::var("TFO_SOAK").ok().map(|text| text.parse().expect("TFO_SOAK: seconds"));
        let time = Duration::from_secs(seconds.unwrap_or(6));
        let lab = Lab::new();
        let server = lab.serve(&config(BODIES[0]), &[]);
        let before = descriptors(&server);
        let load = Load::start(&lab.host, SERVER, 2);
        let kinds: [fn(); 8] =
            [probe, keep_alive, behind_a_proxy, reset, idle, bulk, relayed, relayed_with_header];
        let crowd = Crowd::start(&lab.host, &kinds);
        let most = watch(&server, &lab, time);
        let rounds = crowd.stop();
        assert!(
            rounds.iter().all(|&rounds| rounds > 0),
            "each kind of client has made rounds: {rounds:?}"
        );

        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");

        // All clients have ended: their descriptors must be closed.
        until("descriptors are closed", || descriptors(&server) <= before);
        let metrics = scrape(&lab.host);
        let [accepted, closed, judged, open] = [
            "tfo_server_accepted_total{",
            "tfo_server_closed_total{",
            "tfo_server_connections_total{",
            "tfo_server_open_connections{",
        ]
        .map(|name| sum(&metrics, name));
        assert_eq!((closed, judged, open), (accepted, accepted, 0), "{metrics}");
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);

        let totals = &json(ended.out.lines().last().unwrap())["totals"];
        let connections = totals["connections"].as_u64().unwrap();
        let verdicts = totals["verdicts"].as_object().unwrap().values();
        let judged: u64 = verdicts.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(judged, connections, "each has a verdict: {totals}");
        assert_eq!(connections, accepted, "{totals}");
        // One more for the scrape's own connection.
        let kernel = passive_opens(&lab.host) - 1;
        assert_eq!(kernel, connections, "the kernel counts the same: {totals}");
        assert!(totals["verdicts"]["fast-open"].as_u64() > Some(tally.in_syn), "{totals}");

        println!(
            "\nMEASURED {connections} connections in {time:?}; most memory in each half: {most:?} B"
        );
        let [first, second] = most;
        assert!(
            second < first + first / 10 + (1 << 20),
            "memory grows: {first}, then {second} bytes"
        );
        let refused =
            ended.err.lines().filter(|line| line.contains("keeping the previous")).count();
        assert!(refused > 0, "no invalid settings were loaded: {}", ended.err);
    });
}
