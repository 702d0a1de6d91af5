//! Clients that are slow, or send nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tfo_core::lab::isolated;

use crate::support::{Lab, SERVER, ask, descriptors, json, memory, raise_descriptors, until};

#[test]
fn request_byte_by_byte_is_closed_at_the_header_timeout() {
    isolated(|| {
        let lab = Lab::new();
        // Each byte arrives well within the idle timeout.
        let config = "[limits]\nheader-timeout = \"400ms\"\nidle-timeout = \"10s\"\n";
        let server = lab.serve(config, &["-o", "json"]);
        let mut client = lab.connect();
        client.set_nonblocking(true).unwrap();
        // The mirror's request is a line, which never ends.
        let mut request = b"tfo-probe/1 ".iter().copied().chain(std::iter::repeat(b'x'));
        until("the server closes it", || {
            // A write after the close may fail only later; a read shows it.
            let _ = client.write(&[request.next().unwrap_or_default()]);
            sleep(Duration::from_millis(40));
            match client.read(&mut [0; 1000]) {
                Ok(0) => true,
                // The server may send a reason before it closes.
                Ok(_) => false,
                Err(e) if e.kind() == ErrorKind::WouldBlock => false,
                Err(_) => true,
            }
        });
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["cut_short"], "header-timeout", "{line}");
        assert!(line["bytes_in"].as_u64() > Some(2), "byte by byte: {line}");
    });
}

#[test]
fn client_that_does_not_read_costs_bounded_memory() {
    const CLIENTS: usize = 20;
    isolated(|| {
        let lab = Lab::new();
        let config = "[limits]\nbuffer = \"64KiB\"\nidle-timeout = \"700ms\"\n";
        let server = lab.serve(config, &["--service", "echo", "-o", "json"]);
        assert_eq!(ask(&mut lab.connect(), b"warm"), b"warm");
        let before = memory(&server);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| lab.connect()).collect();
        let block = vec![b'x'; 1 << 20];
        for client in &mut clients {
            client.set_nonblocking(true).unwrap();
        }
        // As much as all buffers on the path hold.
        let mut sent = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            for client in &mut clients {
                sent += client.write(&block).unwrap_or(0);
            }
        }
        let grown = memory(&server).saturating_sub(before);
        assert!(sent > 1 << 20, "the clients have filled the buffers: {sent}");
        // Per direction, and what the allocator and the worker use.
        let bound = CLIENTS as u64 * 2 * (64 << 10) + (1 << 20);
        assert!(grown < bound, "{grown} bytes for {CLIENTS} clients that sent {sent}");
        for line in server.out().first(1 + CLIENTS).iter().skip(1) {
            assert_eq!(json(line)["cut_short"], "idle-timeout", "{line}");
        }
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
    });
}

/// Clients of every service that fill all buffers on the path, with the smallest allowed buffer.
#[test]
fn small_buffer_bounds_the_memory_of_every_service() {
    const CLIENTS: usize = 200;
    const BUFFER: u64 = 4 << 10;
    isolated(|| {
        raise_descriptors();
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
        let any = vec![b'x'; 280_000];
        let listens = [
            ("echo", "service = \"echo\"", &any),
            ("http", "service = \"respond\"\n[listen.respond]\nhttp = true\nfile = \"BODY\"", &get),
            (
                "http, short",
                "service = \"respond\"\n[listen.respond]\nhttp = true\nbody = \"x\"",
                &get,
            ),
            ("respond", "service = \"respond\"\n[listen.respond]\nfile = \"BODY\"", &any),
            ("mirror", "service = \"mirror\"", &any),
            ("forward", "service = \"forward\"", &any),
        ];
        for (name, listen, request) in listens {
            let lab = Lab::new();
            let upstream = lab.host.run(|| TcpListener::bind("127.0.0.1:8001")).unwrap();
            // The client sends as much as possible, and reads nothing.
            let upstream = thread::spawn(move || {
                let accept = |_| {
                    let (stream, _) = upstream.accept().unwrap();
                    stream.set_nonblocking(true).unwrap();
                    let _ = (&stream).write(&vec![b'y'; 1 << 20]);
                    stream
                };
                if name == "forward" {
                    (0..CLIENTS).map(accept).collect::<Vec<_>>()
                } else {
                    Vec::new()
                }
            });
            let body = lab.path("body");
            std::fs::write(&body, vec![b'z'; 12_000]).unwrap();
            let config = format!(
                "[[listen]]\n{}\n[limits]\nbuffer = \"4KiB\"\nidle-timeout = \"1h\"\nheader-timeout = \"1h\"\n\
                 [forward]\nupstreams = [\"127.0.0.1:8001\"]\nhealth-interval = \"0s\"\n\
                 [engine]\nworkers = 1\n[output]\nlines = false\n",
                listen.replace("BODY", body.to_str().unwrap())
            );
            let server = lab.serve(&config, &[]);
            drop(lab.connect());
            let before = memory(&server);
            let clients: Vec<_> = (0..CLIENTS).map(|_| lab.connect()).collect();
            for _ in 0..20 {
                for mut client in &clients {
                    client.set_nonblocking(true).unwrap();
                    let _ = client.write(request);
                }
                sleep(Duration::from_millis(10));
            }
            let each = memory(&server).saturating_sub(before) / CLIENTS as u64;
            // Per direction, plus the connection itself and an upstream's.
            assert!(each < 2 * BUFFER + 3000, "{name}: {each} bytes per connection");
            drop(clients);
            drop(upstream.join().unwrap());
        }
    });
}

#[test]
fn ten_thousand_idle_connections_cost_little_memory() {
    isolated(|| {
        const MANY: u64 = 9_500;
        raise_descriptors();
        let lab = Lab::new();
        // In the worst case one accept handles all of them.
        lab.host.run(|| std::fs::write("/proc/sys/net/core/somaxconn", "16384")).unwrap();
        let config = "[listen]\nbacklog = 16384\n[limits]\nidle-timeout = \"1h\"\n\
            [output]\nlines = false\n";
        let server = lab.serve(config, &["--service", "echo"]);
        assert_eq!(ask(&mut lab.connect(), b"warm"), b"warm");
        let before = memory(&server);
        let connect = |_| TcpStream::connect(SERVER).unwrap();
        let crowd = lab.host.run(move || (0..MANY).map(connect).collect::<Vec<_>>());
        // Last in the queue: once it is served, all are accepted.
        for number in 0..100 {
            let request = format!("request {number}");
            assert_eq!(ask(&mut lab.connect(), request.as_bytes()), request.as_bytes());
        }
        until("all are accepted", || descriptors(&server) as u64 > MANY);
        let each = memory(&server).saturating_sub(before) / MANY;
        println!("\nMEASURED {each} B of user-space memory for each of {MANY} idle connections");
        assert!(each < 1024, "{each} bytes per idle connection");
        // No connection was forgotten.
        let mut last: TcpStream = crowd.into_iter().next_back().unwrap();
        last.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(ask(&mut last, b"after all"), b"after all");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

#[test]
fn client_that_stays_after_its_answer_ends_by_linger_timeout() {
    isolated(|| {
        let long = "x".repeat(1000);
        let closed = "[forward]\nupstreams = [\"127.0.0.1:9\"]\n";
        let cases = [
            // Each of them may still be sending when it is answered.
            ("respond", "[respond]\nhttp = false\n", long.as_str(), "linger-timeout"),
            ("respond", "[respond]\nhttp = true\n", "nonsense\r\n\r\n", "linger-timeout"),
            ("mirror", "", "tfo-probe/1 token\n", "linger-timeout"),
            ("forward", closed, "hello", "no upstream is up"),
        ];
        // Side by side, because each waits for the timeout.
        thread::scope(|scope| {
            for (service, config, request, ended) in cases {
                for ip in ["127.0.0.1", "::1"] {
                    scope.spawn(move || stay(service, config, ip, request, ended));
                }
            }
        });
    });
}

/// Sends a request, reads the answer and stays until the server closes, which it must log and count for this reason.
fn stay(service: &str, config: &str, ip: &str, request: &str, ended: &str) {
    let lab = Lab::new();
    let limits = "[limits]\nidle-timeout = \"1h\"\n[metrics]\nport = 9413\n";
    let config = format!("[listen]\naddress = \"::\"\nservice = \"{service}\"\n{config}{limits}");
    let server = lab.serve(&config, &["-o", "json"]);
    let address = SocketAddr::new(ip.parse().unwrap(), SERVER.port());
    let mut client = lab.host.run(move || TcpStream::connect(address)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    let line = json(&server.out().first(1)[0]);
    assert_eq!(line["cut_short"], ended, "{service}: {line}");
    let text = lab.host.run(|| {
        let mut scrape = TcpStream::connect("127.0.0.1:9413").unwrap();
        ask(&mut scrape, b"GET /metrics HTTP/1.0\r\n\r\n")
    });
    let text = String::from_utf8(text).unwrap();
    let counted = text.lines().filter(|line| line.ends_with(" 1"));
    let mut counted = counted.filter(|line| line.contains("reason="));
    assert!(counted.any(|line| line.contains(ended)), "{service}: {text}");
}
