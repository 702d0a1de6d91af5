//! The access log: lines, totals, and a reader that closes its pipe.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tfo_core::{
    host::{Counters, FastOpenFlags},
    lab::{Middlebox, Network, PathSettings, Program, isolated},
    probe::mirror,
    socket::{Connector, FastOpenListener, FastOpenStream, Method, option},
};

use crate::support::{Lab, answer, ask, clean, json};

#[test]
fn line_contains_peer_verdict_syn_bytes_and_cookie() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "discard"]);
        for first in ["hello", "hello again"] {
            let mut client = lab.fast_open(first.as_bytes());
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"");
        }
        assert_eq!(ask(&mut lab.connect(), b"regular"), b"");
        let lines = server.out().first(3);
        let parts = [
            ["127.0.0.1:", " cookie-granted, 0 B in the SYN, cookie request, ", " ms"],
            ["127.0.0.1:", " fast-open, 11 B in the SYN, cookie 8 B, ", " ms"],
            ["127.0.0.1:", " not-attempted", ", 0 B in the SYN, no cookie, "],
        ];
        for (line, parts) in lines.iter().zip(parts) {
            assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
        }
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let total = ended.out.lines().last().unwrap();
        assert_eq!(
            total,
            "total: 3 connections, 1 fast-open, 1 cookie-granted, 1 not-attempted; 11 B in SYNs, \
             23 B in, 0 B out"
        );
    });
}

#[test]
fn json_lines_contain_evidence_and_the_last_one_totals() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("engine.workers = 1\noutput.format = \"json\"\n", &[]);
        for token in ["a", "b", "c"] {
            let _told = answer(&mut lab.fast_open(&mirror::request(token, 100)));
        }
        let _ = server.out().first(3);
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let lines: Vec<_> = ended.out.lines().map(json).collect();
        let verdicts: Vec<_> = lines[..3].iter().map(|line| &line["verdict"]).collect();
        assert_eq!(verdicts, ["cookie-granted", "fast-open", "fast-open"]);
        for line in &lines[1..3] {
            assert_eq!(line["schema"], 1, "{line}");
            assert_eq!(line["syn_bytes"], 100, "{line}");
            assert_eq!(line["evidence"]["tcp"]["syn_data"], true, "{line}");
            assert_eq!(line["evidence"]["counters"]["passive"], 1, "{line}");
        }
        let totals = &lines[3]["totals"];
        assert_eq!(totals["connections"], 3, "{totals}");
        assert_eq!(totals["syn_bytes"], 200, "{totals}");
        assert_eq!(totals["verdicts"]["fast-open"], 2, "{totals}");
    });
}

/// The host's counters rise for all connections: only the connection's own bits may decide.
#[test]
fn cookie_requests_among_fast_open_clients_are_granted() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "respond"]);
        let ask = |source: [u8; 4]| {
            let connector = Connector::default().bind((source, 0).into());
            let connect = move || connector.connect(crate::support::SERVER, b"hello");
            answer(&mut lab.host.run(connect).unwrap());
        };
        for _ in 0..3 {
            ask([127, 0, 0, 1]);
        }
        for number in 1..=20 {
            ask([127, 0, 1, number]);
            ask([127, 0, 0, 1]);
        }
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let total = ended.out.lines().last().unwrap();
        let expected = "total: 43 connections, 22 fast-open, 21 cookie-granted; ";
        assert!(total.starts_with(expected), "{total}");
    });
}

/// The neighbour's clients raise the counters of the host, and its listener shows this server nothing.
#[test]
fn cookie_requests_beside_a_neighbour_with_fast_open_are_granted() {
    isolated(|| {
        for (ip, service) in [("127.0.0.1", "discard"), ("::1", "discard"), ("127.0.0.1", "mirror")]
        {
            let lab = Lab::new();
            let [address, neighbour] =
                [2222, 8080].map(|port| SocketAddr::new(ip.parse().unwrap(), port));
            let listener = lab.host.run(move || FastOpenListener::bind(neighbour).unwrap());
            let visit = |to: SocketAddr, source: Option<IpAddr>| {
                let connector = Connector::default().method(Method::SendTo);
                let connector = match source {
                    Some(source) => connector.bind((source, 0).into()),
                    None => connector,
                };
                lab.host.run(move || connector.connect(to, b"hello")).unwrap()
            };
            let server = lab.serve("", &["-a", ip, "--service", service, "-o", "json"]);
            let mut expected = Vec::new();
            for round in 0..5_u8 {
                for _ in 0..3 {
                    drop((visit(neighbour, None), listener.accept().unwrap()));
                }
                // With a cookie of the neighbour's address this server's client has one as well.
                let source = ip.parse::<IpAddr>().unwrap();
                let other = IpAddr::from([127, 0, 2, round + 1]);
                let (source, verdict) = match source {
                    IpAddr::V4(_) => (Some(other), "cookie-granted"),
                    IpAddr::V6(_) => (None, "fast-open"),
                };
                let mut client = visit(address, source);
                client.shutdown(std::net::Shutdown::Write).unwrap();
                answer(&mut client);
                expected.push(verdict);
            }
            let lines = server.out().first(5);
            let verdicts: Vec<_> = lines
                .iter()
                .map(|line| json(line)["verdict"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(verdicts, expected, "{ip} {service}: {lines:?}");
        }
    });
}

/// The overflows are those of another listener.
#[test]
fn overflows_of_a_neighbour_are_no_cause_of_this_server() {
    isolated(|| {
        for v6 in [false, true] {
            let path = PathSettings::new().boxes(&[Middlebox::StripSynAckOption]);
            let network = Network::new(path).unwrap();
            let lab = Lab::new();
            let command = lab.command("", &["-a", "::", "--service", "discard", "-o", "json"]);
            let server = Program::start(network.server(), command).unwrap();
            let _ = server.err().expect(&["listening on"]);
            let neighbour = SocketAddr::from(([127, 0, 0, 1], 8080));
            let crowd = network.server().run(move || {
                let listener = FastOpenListener::bind(neighbour).unwrap();
                let connector = Connector::default().method(Method::SendTo);
                drop((connector.connect(neighbour, b"hello").unwrap(), listener.accept().unwrap()));
                listener.set_queue(1).unwrap();
                listener
            });
            // Each that is reset at once keeps its place in the queue, so that the next ones overflow it.
            let overflow = || {
                network.server().run(move || {
                    for _ in 0..4 {
                        let connector = Connector::default().method(Method::SendTo);
                        let client = connector.connect(neighbour, b"hello").unwrap();
                        option::set_linger(&client, Some(Duration::ZERO)).unwrap();
                    }
                });
            };
            overflow();
            let address = SocketAddr::new(Network::server_address(v6), 2222);
            for _ in 0..4 {
                overflow();
                network.client().run(move || {
                    let mut client = FastOpenStream::connect(address, b"hello").unwrap();
                    client.shutdown(std::net::Shutdown::Write).unwrap();
                    answer(&mut client);
                });
            }
            let overflows = network.server().run(|| Counters::read().unwrap().listen_overflow);
            for line in server.out().first(4) {
                let line = json(&line);
                assert_ne!(line["cause"], "queue-full", "{overflows} elsewhere: {line}");
            }
            drop(crowd);
        }
    });
}

#[test]
fn refused_cookie_is_logged_with_its_cause() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "discard", "-o", "json"]);
        let connect = || {
            let mut client = lab.fast_open(b"hello");
            client.shutdown(std::net::Shutdown::Write).unwrap();
            answer(&mut client);
        };
        connect();
        lab.host.set_tcp_fastopen(FastOpenFlags::new(1)).unwrap();
        connect();
        let line = json(&server.out().first(2)[1]);
        assert_eq!(
            (&line["verdict"], &line["cause"]),
            (&"fallback".into(), &"server-disabled".into())
        );
    });
}

#[test]
fn closed_output_pipe_does_not_stop_the_server() {
    isolated(|| {
        let lab = Lab::new();
        let script = "\"$0\" \"$@\" | head -n 1";
        let mut command = clean(Command::new("sh"));
        command.args(["-c", script, env!("CARGO_BIN_EXE_tfo-server"), "--service", "echo"]);
        command.arg("--config").arg(lab.config(""));
        let server = Program::start_tree(&lab.host, command).unwrap();
        let _ = server.err().expect(&["listening on"]);
        for _ in 0..4 {
            assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        }
        let _ = server.out().expect(&["not-attempted"]);
        assert_eq!(
            server.err().count("panicked") + server.err().count("error"),
            0,
            "{}",
            server.err()
        );
    });
}
