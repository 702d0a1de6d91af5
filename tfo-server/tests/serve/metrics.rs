//! Metrics: their values, their endpoint, and their consumers.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tfo_core::host::Counters;
use tfo_core::lab::{Program, isolated, require};

use crate::support::{Lab, SERVER, answer, ask, clean, json};
use crate::upstream::Upstream;

const METRICS: &str = "[metrics]\nport = 9413\n[engine]\nworkers = 2\n";
/// Much longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the answer of a server on this host: status, head and body.
fn get(lab: &Lab, port: u16, path: &str, fields: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let answer = lab.host.run(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

fn metrics(lab: &Lab) -> String {
    let (status, _, body) = get(lab, 9413, "/metrics", "");
    assert_eq!(status, 200, "{body}");
    body
}

/// Returns the sum of the samples with this name whose labels contain all of these pieces.
fn sum(text: &str, name: &str, pieces: &[&str]) -> u64 {
    let named = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && pieces.iter().all(|piece| line.contains(piece))
    };
    text.lines()
        .filter(named)
        .map(|line| line.rsplit(' ').next().unwrap())
        .map(|value| value.parse::<u64>().unwrap())
        .sum()
}

/// Returns the metrics once all connections have ended.
fn settled(lab: &Lab, accepted: u64) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = metrics(lab);
        if sum(&text, "tfo_server_closed_total", &[]) >= accepted {
            return text;
        }
        assert!(Instant::now() < until, "{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sums_are_consistent_and_agree_with_the_kernel() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!(
            "[[listen]]\nservice = \"echo\"\n[[listen]]\nport = 2223\nservice = \"discard\"\n{METRICS}"
        );
        let server = lab.serve(&config, &["-o", "json"]);
        let message = b"in the SYN";
        for _ in 0..5 {
            let mut client = lab.fast_open(message);
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), message);
        }
        for _ in 0..3 {
            assert_eq!(ask(&mut lab.connect(), b"after it"), b"after it");
        }
        let discarding = SocketAddr::new(SERVER.ip(), 2223);
        let mut other = lab.host.run(move || TcpStream::connect(discarding)).unwrap();
        assert_eq!(ask(&mut other, b"unheard"), b"");
        // A connection that is reset, with its echo unread.
        let mut reset = lab.connect();
        reset.write_all(b"x").unwrap();
        reset.read_exact(&mut [0]).unwrap();
        tfo_core::socket::option::set_linger(&reset, Some(Duration::ZERO)).unwrap();
        drop(reset);

        let text = settled(&lab, 10);
        let [echo, discard] = ["service=\"echo\"", "service=\"discard\""];
        for (listener, count) in [(echo, 9), (discard, 1)] {
            for name in [
                "tfo_server_accepted_total",
                "tfo_server_closed_total",
                "tfo_server_connections_total",
                "tfo_server_service_seconds_count",
            ] {
                assert_eq!(sum(&text, name, &[listener]), count, "{name} {listener}\n{text}");
            }
            assert_eq!(sum(&text, "tfo_server_open_connections", &[listener]), 0, "{text}");
        }
        let verdict = |word: &str| {
            sum(&text, "tfo_server_connections_total", &[&format!("verdict=\"{word}\"")])
        };
        assert_eq!(verdict("cookie-granted"), 1, "{text}");
        assert_eq!(verdict("not-attempted"), 5, "{text}");
        assert_eq!(verdict("fast-open"), 4, "{text}");
        let kernel = lab.host.run(|| Counters::read().unwrap());
        assert_eq!(verdict("fast-open"), kernel.passive, "equals the kernel's count");
        assert_eq!(sum(&text, "tfo_kernel_fast_open_passive_total", &[]), kernel.passive);
        assert_eq!(sum(&text, "tfo_server_syn_data_bytes_total", &[]), 40, "{text}");
        assert_eq!(sum(&text, "tfo_server_received_bytes_total", &[echo]), 75, "{text}");
        assert_eq!(sum(&text, "tfo_server_sent_bytes_total", &[echo]), 75, "{text}");
        assert_eq!(sum(&text, "tfo_server_received_bytes_total", &[discard]), 7, "{text}");
        assert_eq!(sum(&text, "tfo_server_cookies_total", &["origin=\"primary\""]), 4, "{text}");
        let cut = sum(&text, "tfo_server_cut_short_total", &["reason=\"connection reset\"", echo]);
        assert_eq!(cut, 1, "{text}");

        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let totals = &json(ended.out.lines().last().unwrap())["totals"];
        assert_eq!(totals["connections"], 10, "the final totals are the same: {totals}");
        assert_eq!(totals["verdicts"]["fast-open"], 4, "{totals}");
        assert_eq!(totals["syn_bytes"], 40, "{totals}");
        assert_eq!((&totals["bytes_in"], &totals["bytes_out"]), (&82.into(), &75.into()));
    });
}

#[test]
fn draining_server_is_not_ready_but_serves_metrics() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!("{METRICS}[limits]\ndrain-timeout = \"1h\"\n");
        let server = lab.serve(&config, &["--service", "echo"]);
        let mut client = lab.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(get(&lab, 9413, "/readyz", "").0, 200);
        server.signal("TERM").unwrap();
        let _ = server.err().expect(&["stopped accepting"]);
        let (status, _, why) = get(&lab, 9413, "/readyz", "");
        assert_eq!((status, why.contains("draining")), (503, true), "{why}");
        assert_eq!(get(&lab, 9413, "/healthz", "").0, 200, "the process is serving");
        let text = metrics(&lab);
        assert_eq!(sum(&text, "tfo_server_ready", &[]), 0, "{text}");
        assert_eq!(sum(&text, "tfo_server_open_connections", &[]), 1, "{text}");
        drop(client);
        assert_eq!(server.finish().code, Some(0), "a scraper does not delay the end");
    });
}

#[test]
fn listener_without_a_live_upstream_is_not_ready() {
    isolated(|| {
        let lab = Lab::new();
        let listener = |port: u16, upstreams: &str| {
            format!(
                "[[listen]]\nport = {port}\nservice = \"forward\"\n[listen.forward]\n\
                 upstreams = [{upstreams}]\nhealth-interval = \"50ms\"\n"
            )
        };
        let config = format!(
            "{}{}{METRICS}",
            listener(2222, "\"127.0.0.1:8001\""),
            listener(2223, "\"127.0.0.1:8001\", \"127.0.0.1:8002\"")
        );
        let _second = Upstream::on(&lab.host, "127.0.0.1:8002").answer("second");
        let server = lab.serve(&config, &[]);
        let _ = server.err().expect(&["no upstream is up"]);
        let (status, _, why) = get(&lab, 9413, "/readyz", "");
        assert_eq!(status, 503, "{why}");
        assert_eq!(why, "no upstream of 127.0.0.1:2222 is up\n", "the other listener has one");
        assert_eq!(sum(&metrics(&lab), "tfo_server_ready", &[]), 0);
        assert_eq!(get(&lab, 9413, "/healthz", "").0, 200, "the process is serving");
        let _first = Upstream::on(&lab.host, "127.0.0.1:8001").answer("first");
        let until = Instant::now() + PATIENCE;
        while get(&lab, 9413, "/readyz", "").0 != 200 {
            assert!(Instant::now() < until, "the upstream is up again");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(sum(&metrics(&lab), "tfo_server_ready", &[]), 1);
    });
}

#[test]
fn unchecked_upstreams_due_for_a_retry_are_ready() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!(
            "listen.service = \"forward\"\n[forward]\nupstreams = [\"127.0.0.1:8001\"]\n\
             health-interval = \"0ms\"\nfast-open = false\n{METRICS}"
        );
        let _server = lab.serve(&config, &[]);
        for _ in 0..2 {
            assert_eq!(ask(&mut lab.connect(), b"?"), b"");
        }
        assert_eq!(get(&lab, 9413, "/readyz", "").0, 503);
        // Without a connection the upstream would not be retried, so a load balancer must send one.
        let until = Instant::now() + PATIENCE;
        while get(&lab, 9413, "/readyz", "").0 != 200 {
            assert!(Instant::now() < until, "a connection may retry");
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(ask(&mut lab.connect(), b"?"), b"");
        assert_eq!(get(&lab, 9413, "/readyz", "").0, 503, "the upstream is still down");
    });
}

#[test]
fn full_server_is_not_ready_and_reports_why() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!("{METRICS}[limits]\nconnections = 1\n");
        let _server = lab.serve(&config, &["--service", "echo"]);
        let mut client = lab.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let (status, _, why) = get(&lab, 9413, "/readyz", "");
        assert_eq!((status, why.contains("limits.connections")), (503, true), "{why}");
        drop(client);
        settled(&lab, 1);
        assert_eq!(get(&lab, 9413, "/readyz", "").0, 200, "a connection is free again");
    });
}

#[test]
fn server_without_descriptors_is_not_ready_until_it_has_some() {
    isolated(|| {
        let lab = Lab::new();
        let mut command = clean(Command::new("sh"));
        command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tfo-server")]);
        command.args(["--service", "echo", "--config"]).arg(lab.config(METRICS));
        let server = Program::start(&lab.host, command).unwrap();
        let _ = server.err().expect(&["listening on"]);
        // There will be no descriptor for another connection.
        let mut watcher = lab.host.run(|| TcpStream::connect("127.0.0.1:9413")).unwrap();
        watcher.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut ready = || {
            watcher.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = [0; 1000];
            let len = watcher.read(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[..len]).into_owned()
        };
        let answer = ready();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let clients: Vec<_> = (0..60).map(|_| lab.connect()).collect();
        let _ = server.err().expect(&["no descriptors left"]);
        let answer = ready();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("starved"), "{answer}");
        drop(clients);
        let until = Instant::now() + PATIENCE;
        while !ready().starts_with("HTTP/1.1 200 ") {
            assert!(Instant::now() < until, "descriptors are free again");
            thread::sleep(Duration::from_millis(20));
        }
    });
}

/// With these limits no peer is closed by a timeout.
const PATIENT: &str = "[limits]\nidle-timeout = \"1h\"\nheader-timeout = \"1h\"\n";

/// Starts a server that has accepted as many clients as it has descriptors for. Returns it with all clients.
fn without_descriptors(lab: &Lab) -> (Program, Vec<TcpStream>) {
    let mut command = clean(Command::new("sh"));
    command.args(["-c", "ulimit -n 48; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tfo-server")]);
    command.args(["--service", "echo", "--config"]).arg(lab.config(&format!("{METRICS}{PATIENT}")));
    let server = Program::start(&lab.host, command).unwrap();
    let _ = server.err().expect(&["listening on"]);
    let clients = (0..60).map(|_| lab.connect()).collect();
    let _ = server.err().expect(&["no descriptors left"]);
    (server, clients)
}

/// Opens this many connections to the metrics and sends nothing.
fn idle_peers(lab: &Lab, count: usize) -> Vec<TcpStream> {
    lab.host
        .run(move || (0..count).map(|_| TcpStream::connect("127.0.0.1:9413").unwrap()).collect())
}

/// Returns whether an idle connection is closed in time.
fn is_closed(peer: &mut TcpStream) -> bool {
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    match peer.read(&mut [0]) {
        Ok(len) => len == 0,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn health_is_answered_without_free_descriptors() {
    isolated(|| {
        let lab = Lab::new();
        let (_server, clients) = without_descriptors(&lab);
        for _ in 0..20 {
            assert_eq!(get(&lab, 9413, "/healthz", "").0, 200);
            let (status, _, why) = get(&lab, 9413, "/readyz", "");
            assert_eq!((status, why.contains("starved")), (503, true), "{why}");
            assert_eq!(get(&lab, 9413, "/metrics", "").0, 200);
        }
        drop(clients);
    });
}

#[test]
fn health_is_answered_beside_idle_peers() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(&format!("{METRICS}{PATIENT}"), &[]);
        let mut peers = idle_peers(&lab, 70);
        for _ in 0..10 {
            assert_eq!(get(&lab, 9413, "/healthz", "").0, 200);
            assert_eq!(get(&lab, 9413, "/readyz", "").0, 200);
        }
        // The oldest connection is closed first.
        assert!(is_closed(&mut peers.swap_remove(0)));
    });
}

#[test]
fn health_is_answered_beside_idle_peers_without_descriptors() {
    isolated(|| {
        let lab = Lab::new();
        let (_server, clients) = without_descriptors(&lab);
        let peers = idle_peers(&lab, 70);
        for _ in 0..10 {
            assert_eq!(get(&lab, 9413, "/healthz", "").0, 200);
            assert_eq!(get(&lab, 9413, "/readyz", "").0, 503);
        }
        drop((clients, peers));
    });
}

#[test]
fn idle_metrics_peers_are_closed_soon() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(&format!("{METRICS}{PATIENT}"), &[]);
        for request in ["", "GET /hea"] {
            let mut peer = idle_peers(&lab, 1).remove(0);
            peer.write_all(request.as_bytes()).unwrap();
            let answer = String::from_utf8(answer(&mut peer)).unwrap();
            let expected = if request.is_empty() { "" } else { "HTTP/1.1 408 Request Timeout" };
            assert_eq!(answer.lines().next().unwrap_or_default(), expected);
        }
    });
}

#[test]
fn health_and_metrics_must_not_be_cached() {
    isolated(|| {
        let lab = Lab::new();
        let _server = lab.serve(METRICS, &[]);
        for path in ["/healthz", "/readyz", "/metrics"] {
            let (status, head, _) = get(&lab, 9413, path, "");
            let field = head.lines().any(|line| line == "Cache-Control: no-store");
            assert_eq!((status, field), (200, true), "{path}: {head}");
        }
    });
}

#[test]
fn server_that_waits_for_a_free_connection_sleeps() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!("{METRICS}[limits]\nconnections = 1\n");
        let _server = lab.serve(&config, &["--service", "echo"]);
        let mut client = lab.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let _waits = lab.connect();
        let used = || {
            let text = metrics(&lab);
            assert_eq!(sum(&text, "tfo_server_open_connections", &[]), 1, "{text}");
            let line = text.lines().find(|line| line.starts_with("process_cpu_seconds_total"));
            line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        let (before, since) = (used(), Instant::now());
        thread::sleep(Duration::from_secs(1));
        let (share, of) = (used() - before, since.elapsed().as_secs_f64());
        assert!(share < of / 10.0, "used {share} s of CPU time in {of} s");
    });
}

#[test]
fn uninspected_connections_are_counted_as_not_looked_at() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!("{METRICS}evidence = \"counters\"\n");
        let _server = lab.serve(&config, &["--service", "echo"]);
        for _ in 0..2 {
            let mut client = lab.fast_open(b"hello");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"hello");
        }
        let text = settled(&lab, 2);
        let connections = "tfo_server_connections_total";
        assert_eq!(sum(&text, connections, &["verdict=\"not-looked-at\""]), 2, "{text}");
        assert_eq!(sum(&text, connections, &[]), 2, "and with no other verdict: {text}");
        let kernel = lab.host.run(|| Counters::read().unwrap());
        assert_eq!(sum(&text, "tfo_kernel_fast_open_passive_total", &[]), kernel.passive);
        assert_eq!(kernel.passive, 1, "the kernel has counted");
    });
}

#[test]
fn upstream_metrics_show_health_and_connections() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!(
            "[[listen]]\nservice = \"forward\"\n[[listen]]\nport = 2300\nservice = \"echo\"\n\
             [forward]\nupstreams = [\"127.0.0.1:2300\", \"127.0.0.1:2301\"]\n\
             health-interval = \"100ms\"\n{METRICS}"
        );
        let server = lab.serve(&config, &[]);
        let _ = server.err().expect(&["upstream 127.0.0.1:2301 is down"]);
        for _ in 0..3 {
            assert_eq!(ask(&mut lab.connect(), b"hello"), b"hello");
        }
        let text = metrics(&lab);
        let of = |what: &str, port: u16| {
            let upstream = format!("upstream=\"127.0.0.1:{port}\"");
            sum(&text, &format!("tfo_server_upstream_{what}"), &[&upstream])
        };
        assert_eq!((of("up", 2300), of("up", 2301)), (1, 0), "{text}");
        let chosen = of("connections_total", 2300);
        assert_eq!((chosen, of("connections_total", 2301)), (3, 0), "{text}");
        assert!(of("failures_total", 2301) >= 2, "{text}");
        let forward = "service=\"forward\"";
        assert_eq!(sum(&text, "tfo_server_received_bytes_total", &[forward]), 15, "{text}");
        assert_eq!(sum(&text, "tfo_server_sent_bytes_total", &[forward]), 15, "{text}");
        server.signal("USR1").unwrap();
        let line = server.out().expect(&["upstreams:"]);
        assert!(line.contains("127.0.0.1:2300 up (") && line.contains("127.0.0.1:2301 DOWN ("));
    });
}

#[test]
fn key_metrics_show_fingerprints_and_follow_rotation() {
    isolated(|| {
        let lab = Lab::new();
        let keys = lab.path("keys");
        let [one, two] = ["0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff"];
        let write = |text: &str| {
            fs::write(&keys, text).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&keys, private).unwrap();
        };
        write(&format!("{one}\n"));
        let config = format!("{METRICS}[keys]\nmode = \"file\"\nfile = \"{}\"\n", keys.display());
        let server = lab.serve(&config, &[]);
        let fingerprints = || {
            let text = metrics(&lab);
            assert!(!text.contains(one) && !text.contains(two), "never a key: {text}");
            let lines = text.lines().filter(|line| line.starts_with("tfo_server_key_info{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = fingerprints();
        assert_eq!(before.len(), 1, "{before:?}");
        assert!(before[0].contains("role=\"primary\""), "{before:?}");
        write(&format!("{two}\n{one}\n"));
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["settings reloaded"]);
        let after = fingerprints();
        assert_eq!(after.len(), 2, "{after:?}");
        assert_ne!(after[0], before[0]);
        assert_eq!(after[1], before[0].replace("primary", "backup"), "the old key is the backup");
    });
}

#[test]
fn sigusr1_and_top_show_the_same_table() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(METRICS, &["--service", "echo"]);
        for _ in 0..3 {
            let mut client = lab.fast_open(b"hello");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"hello");
        }
        settled(&lab, 3);
        server.signal("USR1").unwrap();
        let row = server.out().expect(&["127.0.0.1:2222", "echo"]);
        let cells: Vec<_> = row.split_whitespace().collect();
        // Open, accepted, hits and bytes: who fetched the cookie could not hit.
        let expected = ["127.0.0.1:2222", "echo", "0", "3", "100.0", "%", "15", "B", "15", "B"];
        assert_eq!(cells, expected, "{row}");
        let verdicts = server.out().expect(&["verdicts: 1 cookie-granted, 2 fast-open"]);
        let top = lab.host.output(lab.command(METRICS, &["top", "-q"])).unwrap();
        let text = String::from_utf8(top.stdout).unwrap();
        assert_eq!(top.status.code(), Some(0), "{text}");
        for line in [row, verdicts] {
            assert!(text.contains(&line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains('\x1b'), "no terminal, no control characters: {text:?}");
        let from = ["top", "-q", "--from", "127.0.0.1:9413", "-o", "json"];
        let top = lab.host.output(lab.command("", &from)).unwrap();
        let document: Value = serde_json::from_slice(&top.stdout).unwrap();
        let all = document["metrics"].as_array().unwrap();
        let accepted = all.iter().find(|one| one["name"] == "tfo_server_accepted_total").unwrap();
        assert_eq!(accepted["value"], 3.0, "{accepted}");
    });
}

#[test]
fn sigusr1_prints_json_with_json_output() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo", "-o", "json"]);
        let client = lab.connect();
        server.signal("USR1").unwrap();
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["schema"], 1, "{line}");
        assert!(line["totals"]["connections"].as_u64().unwrap() <= 1, "{line}");
        drop(client);
    });
}

#[test]
fn top_without_metrics_explains_what_to_do() {
    isolated(|| {
        let lab = Lab::new();
        let off = lab.host.output(lab.command("", &["top", "-q"])).unwrap();
        let why = String::from_utf8(off.stderr).unwrap();
        assert_eq!(off.status.code(), Some(2), "{why}");
        assert!(
            why.contains("`[metrics]`") && why.contains("`port = ") && why.lines().count() == 1
        );
        let down = lab.host.output(lab.command(METRICS, &["top", "-q"])).unwrap();
        let why = String::from_utf8(down.stderr).unwrap();
        assert_eq!(down.status.code(), Some(1), "{why}");
        assert!(why.contains("http://127.0.0.1:9413/metrics"), "{why}");
    });
}

#[test]
fn occupied_metrics_port_is_reported_with_its_setting() {
    isolated(|| {
        let lab = Lab::new();
        let _taken = lab.host.run(|| std::net::TcpListener::bind("127.0.0.1:9413")).unwrap();
        let ended = lab.start(METRICS, &[]).finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let is_named = ended.err.contains("127.0.0.1:9413") && ended.err.contains("metrics.port");
        assert!(is_named, "{}", ended.err);
    });
}

#[test]
fn promtool_reports_no_problem() {
    isolated(|| {
        if !require("promtool") {
            return;
        }
        let lab = Lab::new();
        let _server = lab.serve(METRICS, &["--service", "echo"]);
        assert_eq!(ask(&mut lab.connect(), b"x"), b"x");
        settled(&lab, 1);
        let (_, head, text) = get(&lab, 9413, "/metrics", "Accept: text/plain\r\n");
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        let mut command = clean(Command::new("promtool"));
        command.args(["check", "metrics"]).stdin(Stdio::piped());
        let mut tool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = tool.wait_with_output().unwrap();
        let report = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!((output.status.code(), report.as_str()), (Some(0), ""), "{text}");
    });
}

/// Starts Prometheus, which scrapes the server of this host.
fn prometheus(lab: &Lab) -> Program {
    let config = lab.path("prometheus.yml");
    let text = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: tfo\n  \
                static_configs: [{targets: ['127.0.0.1:9413']}]\n";
    fs::write(&config, text).unwrap();
    let mut command = clean(Command::new("prometheus"));
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", lab.path("tsdb").display()));
    command.arg("--web.listen-address=127.0.0.1:9090");
    let program = Program::start(&lab.host, command).unwrap();
    let _ = program.err().expect(&["Server is ready to receive web requests"]);
    program
}

#[test]
fn real_prometheus_scrapes_the_server() {
    isolated(|| {
        if !require("prometheus") {
            return;
        }
        let lab = Lab::new();
        let _server = lab.serve(METRICS, &["--service", "echo"]);
        for _ in 0..3 {
            let mut client = lab.fast_open(b"hello");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"hello");
        }
        settled(&lab, 3);
        let _prometheus = prometheus(&lab);
        let query = |query: &str| -> Vec<Value> {
            let (status, _, body) = get(&lab, 9090, &format!("/api/v1/query?query={query}"), "");
            assert_eq!(status, 200, "{body}");
            let document: Value = serde_json::from_str(&body).unwrap();
            document["data"]["result"].as_array().unwrap().clone()
        };
        let until = Instant::now() + PATIENCE;
        while query("up").first().is_none_or(|up| up["value"][1] != "1") {
            let targets = get(&lab, 9090, "/api/v1/targets", "").2;
            assert!(Instant::now() < until, "the target is not up: {targets}");
            thread::sleep(Duration::from_millis(100));
        }
        let hits = query("tfo_server_connections_total%7Bverdict=%22fast-open%22%7D");
        assert_eq!(hits.len(), 1, "{hits:?}");
        assert_eq!(hits[0]["value"][1], "2", "{hits:?}");
        assert_eq!(hits[0]["metric"]["listener"], "127.0.0.1:2222", "{hits:?}");
        let buckets = query("tfo_server_service_seconds_bucket%7Ble=%22%2BInf%22%7D");
        assert_eq!(buckets[0]["value"][1], "3", "a histogram: {buckets:?}");
        let metadata = get(&lab, 9090, "/api/v1/metadata?metric=tfo_server_syn_data_bytes", "").2;
        assert!(metadata.contains("\"type\":\"counter\""), "{metadata}");
        assert!(metadata.contains("\"unit\":\"bytes\""), "{metadata}");
    });
}
