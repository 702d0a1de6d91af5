//! No byte reaches another connection. Runs every service and both PROXY modes in one process. Each client sends a
//! unique marker in pieces, with resets and errors in between.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tfo_core::lab::{Host, isolated};
use tfo_core::socket::{Connector, Method, option};

use crate::support::{Lab, SERVER};

const CLIENTS: u32 = 8;
const EACH: u32 = 120;
/// Much longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);
const UPSTREAM: u16 = 8001;

/// The configuration of a listener. Its index determines its port.
struct Listen {
    service: &'static str,
    /// A PROXY header is required.
    proxied: bool,
    /// Lines of the listener's `forward` table.
    forward: &'static str,
}

const LISTENERS: [Listen; 13] = [
    plain("echo"),
    plain("mirror"),
    plain("respond"),
    plain("discard"),
    proxied("echo"),
    proxied("mirror"),
    proxied("respond"),
    forward(false, "upstreams = [\"127.0.0.1:8001\"]"),
    forward(false, "upstreams = [\"127.0.0.1:8001\"]\nproxy-protocol = \"v1\""),
    forward(false, "upstreams = [\"127.0.0.1:8001\"]\nproxy-protocol = \"v2\""),
    forward(true, "upstreams = [\"127.0.0.1:8001\"]"),
    forward(true, "upstreams = [\"127.0.0.1:9\", \"127.0.0.1:8001\"]\nproxy-protocol = \"v2\""),
    forward(true, "upstreams = [\"127.0.0.1:9\"]\nproxy-protocol = \"v1\""),
];
/// The HTTP service has settings of its own.
const HTTP: u16 = 2300;

const fn plain(service: &'static str) -> Listen {
    Listen { service, proxied: false, forward: "" }
}

const fn proxied(service: &'static str) -> Listen {
    Listen { service, proxied: true, forward: "" }
}

const fn forward(proxied: bool, forward: &'static str) -> Listen {
    Listen { service: "forward", proxied, forward }
}

fn port_of(index: usize) -> u16 {
    SERVER.port() + u16::try_from(index).unwrap()
}

fn config(workers: usize) -> String {
    let mut text = String::new();
    for (index, listen) in LISTENERS.iter().enumerate() {
        let required = if listen.proxied { "required" } else { "off" };
        let _ = write!(
            text,
            "[[listen]]\nport = {}\nservice = \"{}\"\nproxy-protocol = \"{required}\"\n",
            port_of(index),
            listen.service
        );
        if listen.service == "forward" {
            let _ =
                writeln!(text, "[listen.forward]\n{}\nhealth-interval = \"0ms\"", listen.forward);
        }
        if listen.service == "respond" {
            text += "[listen.respond]\nbody = \"a fixed answer\"\n";
        }
    }
    let _ = write!(
        text,
        "[[listen]]\nport = {HTTP}\nservice = \"respond\"\n[listen.respond]\nhttp = true\nbody = \"a fixed answer\"\n\
         [engine]\nworkers = {workers}\n[output]\nlines = false\n"
    );
    text
}

/// Returns the numbers of the markers in these bytes. Truncated markers are ignored.
fn markers(bytes: &[u8]) -> BTreeSet<u32> {
    let text = String::from_utf8_lossy(bytes);
    let numbers = text.split("mark-").skip(1).filter_map(|rest| rest.split_once("-end"));
    numbers.filter_map(|(number, _)| number.parse().ok()).collect()
}

fn marker(number: u32) -> String {
    format!("mark-{number}-end")
}

/// Returns a PROXY header of version 1 or 2 whose source address contains the number.
fn header(number: u32, version: u8) -> Vec<u8> {
    let [_, b, c, d] = number.to_be_bytes();
    if version == 1 {
        return format!("PROXY TCP4 10.{b}.{c}.{d} 192.0.2.1 7 80\r\n").into_bytes();
    }
    let addresses = [10, b, c, d, 192, 0, 2, 1, 0, 7, 0, 80];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}

/// Returns the number from a header's source address, if these bytes begin with a header whose source is `10.…`.
fn number_in_header(bytes: &[u8]) -> Option<u32> {
    let address = if bytes.starts_with(b"PROXY ") {
        let text = String::from_utf8_lossy(bytes);
        text.split(' ').nth(2)?.parse().ok()?
    } else if bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11") {
        std::net::Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(16..20)?).ok()?)
    } else {
        return None;
    };
    let [ten, b, c, d] = address.octets();
    (ten == 10).then(|| u32::from_be_bytes([0, b, c, d]))
}

/// Descriptions of the detected faults.
type Faults = Arc<Mutex<Vec<String>>>;

/// Echoes, or fails in one of several ways. Each connection must contain bytes of only one client.
fn upstream(listener: &TcpListener, faults: &Faults) {
    let mut random = fastrand::Rng::with_seed(7);
    while let Ok((stream, _)) = listener.accept() {
        let (faults, how) = (Arc::clone(faults), random.u8(0..8));
        thread::spawn(move || {
            let Some(came) = serve_upstream(stream, how) else { return };
            let found = markers(&came);
            let named = number_in_header(&came);
            let strange = named.is_some_and(|number| found.iter().any(|found| *found != number));
            if found.len() > 1 || strange {
                let fault = format!("upstream got {found:?} behind a header of {named:?}");
                faults.lock().unwrap().push(fault);
            }
        });
    }
}

/// Serves one connection, and returns all bytes that were received.
fn serve_upstream(mut stream: TcpStream, how: u8) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut came = vec![0; 64 * 1024];
    let len = stream.read(&mut came).ok()?;
    came.truncate(len);
    if how == 0 {
        // A reset instead of an answer.
        let _ = option::set_linger(&stream, Some(Duration::ZERO));
        return Some(came);
    }
    let answer = came.repeat(if how == 1 { 50 } else { 1 });
    let _ = stream.write_all(&answer);
    if how == 2 {
        // A reset in the middle of the answer.
        let _ = option::set_linger(&stream, Some(Duration::ZERO));
        return Some(came);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut came);
    Some(came)
}

/// Returns what a client sends, behind a header if one is required.
fn request(number: u32, listen: Option<&Listen>, random: &mut fastrand::Rng) -> Vec<u8> {
    let marker = marker(number);
    let Some(listen) = listen else {
        let one = format!("GET /{marker} HTTP/1.1\r\nHost: {marker}\r\n\r\n");
        return one.repeat(random.usize(1..40)).into_bytes();
    };
    let message = match listen.service {
        "mirror" => format!("tfo-probe/1 {marker}\n"),
        _ => marker.repeat([1, 1, 3, 40, 20_000][random.usize(..5)]),
    };
    let header = match (listen.proxied, random.u8(..10)) {
        (true, 0) => b"PROXY no header\r\n".to_vec(),
        (true, 1..5) => header(number, 1),
        (true, _) => header(number, 2),
        (false, _) => Vec::new(),
    };
    [&header, message.as_bytes()].concat()
}

/// Makes one connection, and returns what was received.
fn converse(port: u16, request: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let server = SocketAddr::new(SERVER.ip(), port);
    let method = if random.bool() { Method::SendTo } else { Method::Off };
    let cut = random.usize(..=request.len().min(300));
    let (first, rest) = request.split_at(if random.bool() { request.len() } else { cut });
    let connector = Connector::default().method(method).timeout(PATIENCE);
    let Ok(stream) = connector.connect(server, first) else { return Vec::new() };
    let mut stream = TcpStream::from(stream);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    match random.u8(..6) {
        0 => reset(&stream),
        1 => {
            let _ = stream.write_all(rest);
            reset(&stream);
        }
        2 => {
            let _ = stream.write_all(rest);
            // Some services send no answer.
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            answer.resize(10, 0);
            let len = stream.read(&mut answer).unwrap_or(0);
            answer.truncate(len);
            reset(&stream);
        }
        _ => {
            // Sends and reads concurrently: a long echo must not block the sender.
            let mut reader = stream.try_clone().unwrap();
            let reading = thread::spawn(move || {
                let mut answer = Vec::new();
                let end = reader.read_to_end(&mut answer);
                (answer, end.err().map(|e| e.kind()))
            });
            let _ = stream.write_all(rest);
            let _ = stream.shutdown(Shutdown::Write);
            let (came, error) = reading.join().unwrap();
            assert_ne!(error, Some(ErrorKind::WouldBlock), "no answer within {PATIENCE:?}");
            answer = came;
        }
    }
    answer
}

fn reset(stream: &TcpStream) {
    option::set_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// Describes what is wrong with an answer.
fn fault(number: u32, listen: Option<&Listen>, answer: &[u8]) -> Option<String> {
    let strange: Vec<_> = markers(answer).into_iter().filter(|found| *found != number).collect();
    let service = listen.map_or("http", |listen| listen.service);
    if !strange.is_empty() {
        return Some(format!("{service}: client {number} got bytes of {strange:?}"));
    }
    let expected: &[u8] = match service {
        "respond" => b"a fixed answer",
        "http" => b"HTTP/1.1 200 OK",
        "discard" => b"",
        "mirror" => b"{\"tfo_mirror\"",
        "echo" => b"mark-",
        _ => return None,
    };
    let len = answer.len().min(expected.len());
    (answer[..len] != expected[..len] || (service == "discard" && !answer.is_empty()))
        .then(|| format!("{service}: client {number} got {}", answer.escape_ascii()))
}

fn clients(host: &Host, seed: u64, faults: &Faults) -> u64 {
    let handles: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let faults = Arc::clone(faults);
            host.run(move || {
                thread::spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed + u64::from(client));
                    let mut answered = 0;
                    for round in 0..EACH {
                        let number = 1 + client * EACH + round;
                        let index = random.usize(..=LISTENERS.len());
                        let listen = LISTENERS.get(index);
                        let request = request(number, listen, &mut random);
                        let port = if listen.is_some() { port_of(index) } else { HTTP };
                        let answer = converse(port, &request, &mut random);
                        answered += u64::from(!answer.is_empty());
                        faults.lock().unwrap().extend(fault(number, listen, &answer));
                    }
                    answered
                })
            })
        })
        .collect();
    handles.into_iter().map(|handle| handle.join().unwrap()).sum()
}

#[test]
fn no_byte_of_a_client_reaches_another_connection() {
    isolated(|| {
        for workers in [1, 2] {
            let lab = Lab::new();
            let faults = Faults::default();
            let listener = lab.host.run(|| TcpListener::bind(("127.0.0.1", UPSTREAM))).unwrap();
            let reported = Arc::clone(&faults);
            thread::spawn(move || upstream(&listener, &reported));
            let server = lab.serve(&config(workers), &[]);
            let answered = clients(&lab.host, 40 + workers as u64, &faults);
            server.signal("TERM").unwrap();
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            let faults = faults.lock().unwrap();
            assert!(
                faults.is_empty(),
                "{workers} workers, {} faults:\n{}",
                faults.len(),
                faults[..faults.len().min(10)].join("\n")
            );
            assert!(answered > u64::from(CLIENTS * EACH / 3), "too few answers: {answered}");
        }
    });
}
