//! `service = "forward"`: the connection between a client and an upstream.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::lab::{Program, isolated, require};
use tfo_core::socket::option;

use crate::support::{
    Lab, ONE_WORKER, answer, ask, descriptors, json, memory, pattern, peak_memory, until,
};
use crate::upstream::{Silent, Upstream, read};

const ONE: &str = "127.0.0.1:8001";
const OTHER: &str = "127.0.0.1:8002";
const THIRD: &str = "127.0.0.1:8003";
const FOURTH: &str = "127.0.0.1:8004";

/// Returns the server's configuration.
fn to(upstreams: &[&str], more: &str) -> String {
    format!("[listen]\nservice = \"forward\"\n[forward]\nupstreams = {upstreams:?}\n{more}\n")
}

/// Returns the number of bytes in the SYN, and whether they were accepted.
fn in_syn(arrival: &tfo_core::socket::Arrival) -> (usize, bool) {
    let Some(syn) = arrival.syn.saved() else { panic!("no SYN: {arrival:?}") };
    (syn.payload_bytes.into(), arrival.tcp.syn_data)
}

#[test]
fn first_bytes_are_in_the_syn_on_both_legs() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE).answer("one");
        let server = lab.serve(&to(&[ONE], "health-interval = \"0s\""), &["-o", "json"]);
        for n in 0..3 {
            let mut client = lab.fast_open(b"the request");
            assert_eq!(answer(&mut client), b"one:the request", "connection {n}");
            drop(client);
            let (arrival, message) = upstream.seen().remove(0);
            assert_eq!(message, b"the request");
            let line = json(&server.out().first(n + 1)[n]);
            assert_eq!(line["upstream"], ONE, "{line}");
            assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&11.into(), &15.into()), "{line}");
            if n > 0 {
                assert_eq!(line["verdict"], "fast-open", "{line}");
                assert_eq!(in_syn(&arrival), (11, true), "connection {n}");
            }
        }
    });
}

#[test]
fn output_of_another_connection_never_reaches_an_upstream() {
    isolated(|| {
        let lab = Lab::new();
        // One worker, and therefore one output buffer, for a service and the connections to it.
        let config = "[[listen]]\nservice = \"forward\"\n[[listen]]\nport = 2300\nservice = \"echo\"\n\
                      [forward]\nupstreams = [\"127.0.0.1:2300\"]\nhealth-interval = \"0s\"\n\
                      [engine]\nworkers = 1\n";
        let _server = lab.serve(config, &[]);
        for n in 0..50 {
            let message = format!("a secret of client {n}");
            let echoed = ask(&mut lab.connect(), message.as_bytes());
            assert_eq!(String::from_utf8_lossy(&echoed), message);
        }
    });
}

#[test]
fn upstream_without_fast_open_gets_regular_connections() {
    isolated(|| {
        // Disabled by the configuration, or by a host that does not allow fast open.
        for (bits, more) in [(3, "fast-open = false"), (2, "")] {
            let lab = Lab::with_tcp_fastopen(bits);
            let upstream = Upstream::on(&lab.host, ONE).answer("one");
            let _server = lab.serve(&to(&[ONE], more), &[]);
            for _ in 0..3 {
                assert_eq!(answer(&mut lab.fast_open(b"the request")), b"one:the request");
            }
            let seen = upstream.seen();
            assert_eq!(seen.len(), 3);
            for (arrival, _) in seen {
                assert_eq!(in_syn(&arrival), (0, false), "{arrival:?}");
                let syn = arrival.syn.saved().expect("saved");
                assert!(syn.fast_open.is_none(), "no cookie request either: {arrival:?}");
            }
        }
    });
}

#[test]
fn each_half_closes_independently() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let _server = lab.serve(&to(&[ONE], "health-interval = \"0s\""), &[]);
        // The client closes first.
        let mut client = lab.connect();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut there = upstream.accept().stream;
        assert_eq!(answer(&mut there), b"question", "followed by its end");
        there.write_all(b"answer").unwrap();
        drop(there);
        assert_eq!(answer(&mut client), b"answer");
        // The upstream closes first, and still receives from the client.
        let mut client = lab.connect();
        client.write_all(b"question").unwrap();
        let mut there = upstream.accept().stream;
        there.write_all(b"answer").unwrap();
        there.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(&mut client), b"answer");
        client.write_all(b", and more").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(&mut there), b"question, and more");
        // Neither has sent a byte.
        let mut client = lab.connect();
        client.shutdown(Shutdown::Write).unwrap();
        let mut there = upstream.accept().stream;
        assert_eq!(answer(&mut there), b"");
        drop(there);
        assert_eq!(answer(&mut client), b"");
    });
}

#[test]
fn upstream_may_send_first_and_both_may_alternate() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let _server = lab.serve(&to(&[ONE], "health-interval = \"0s\""), &[]);
        let mut client = lab.connect();
        let mut there = upstream.accept().stream;
        there.write_all(b"220 ready").unwrap();
        let mut greeting = [0; 9];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 ready");
        for turn in 0..100_u8 {
            client.write_all(&[turn]).unwrap();
            assert_eq!(read(&mut there, 1), [turn]);
            there.write_all(&[turn, turn]).unwrap();
            client.read_exact(&mut greeting[..2]).unwrap();
            assert_eq!(greeting[..2], [turn; 2]);
        }
    });
}

#[test]
fn clients_without_an_upstream_are_closed_cleanly() {
    isolated(|| {
        let lab = Lab::new();
        let more = "health-interval = \"100ms\"";
        let server = lab.serve(&to(&[ONE], more), &["-o", "json"]);
        for n in 0..20 {
            let mut client = lab.connect();
            client.write_all(b"question").unwrap();
            assert_eq!(answer(&mut client), b"", "connection {n}: a FIN, and no reset");
            drop(client);
            let line = json(&server.out().first(n + 1)[n]);
            assert_eq!(line["cut_short"], "no upstream is up", "{line}");
        }
        let down = server.err().expect(&["upstream 127.0.0.1:8001 is down", "refused"]);
        assert!(!down.is_empty());
        let upstream = Upstream::on(&lab.host, ONE).answer("one");
        let _ = server.err().expect(&["upstream 127.0.0.1:8001 is up again"]);
        assert_eq!(ask(&mut lab.connect(), b"question"), b"one:question");
        assert_eq!(upstream.count(), 1);
        assert_eq!(server.err().count("is down"), 1, "logged once, not per client");
        assert_eq!(server.err().count("no upstream is up"), 1);
    });
}

#[test]
fn client_refused_by_one_upstream_is_served_by_the_next() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, OTHER).answer("other");
        let more = "health-interval = \"0s\"\nfast-open = false";
        let server = lab.serve(&to(&[ONE, OTHER], more), &[]);
        for n in 0..10 {
            let answer = ask(&mut lab.connect(), b"question");
            assert_eq!(answer, b"other:question", "connection {n}");
        }
        assert_eq!(upstream.count(), 10);
        let _ = server.err().expect(&["127.0.0.1:8001 is down"]);
    });
}

#[test]
fn data_sent_in_a_syn_is_never_sent_to_another_upstream() {
    isolated(|| {
        let lab = Lab::new();
        // A cookie for this address is cached. Cookies do not depend on the port.
        let first = Upstream::on(&lab.host, ONE);
        let more = "health-interval = \"0s\"";
        let server = lab.serve(&to(&[ONE], more), &[]);
        for _ in 0..2 {
            let client = lab.fast_open(b"fetch");
            let mut there = first.accept();
            let _ = there.stream.write_all(b"done");
            drop((client, there));
        }
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
        drop(first);
        let other = Upstream::on(&lab.host, OTHER).answer("other");
        let server = lab.serve(&to(&[ONE, OTHER], more), &["-o", "json"]);
        let mut client = lab.fast_open(b"pay");
        assert_eq!(answer(&mut client), b"", "closed cleanly");
        drop(client);
        let line = json(&server.out().first(1)[0]);
        assert!(line["cut_short"].as_str().unwrap().contains("data had left"), "{line}");
        assert_eq!(other.count(), 0);
        // From now on the upstream gets regular connections, whose clients may be served by another upstream.
        for _ in 0..3 {
            assert_eq!(answer(&mut lab.fast_open(b"pay")), b"other:pay");
        }
        assert_eq!(other.count(), 3);
    });
}

#[test]
fn unreachable_upstream_is_abandoned_at_connect_timeout() {
    isolated(|| {
        let lab = Lab::new();
        let other = Upstream::on(&lab.host, OTHER).answer("other");
        let _silent = Silent::on(&lab.host, ONE);
        let more = "health-interval = \"0s\"\nconnect-timeout = \"100ms\"\nfast-open = false";
        let server = lab.serve(&to(&[ONE, OTHER], more), &[]);
        for n in 0..6 {
            assert_eq!(ask(&mut lab.connect(), b"question"), b"other:question", "connection {n}");
        }
        let _ = server.err().expect(&["127.0.0.1:8001 is down", "no answer within 100ms"]);
        assert_eq!(other.count(), 6);
    });
}

#[test]
fn slow_answer_is_not_limited_by_the_connect_timeout() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let more = "health-interval = \"0s\"\nconnect-timeout = \"50ms\"";
        let server = lab.serve(&to(&[ONE], more), &["-o", "json"]);
        for first in [&b"regular"[..], b"in the SYN", b"in the SYN"] {
            let mut client = lab.fast_open(first);
            let mut there = upstream.accept().stream;
            assert_eq!(read(&mut there, first.len()), first);
            thread::sleep(Duration::from_millis(300));
            there.write_all(b"thought").unwrap();
            drop(there);
            assert_eq!(answer(&mut client), b"thought");
        }
        for line in server.out().first(3) {
            assert!(json(&line)["cut_short"].is_null(), "{line}");
        }
    });
}

#[test]
fn reset_is_passed_on_after_the_bytes_before_it() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let server = lab.serve(&to(&[ONE], "health-interval = \"0s\""), &["-o", "json"]);
        let mut client = lab.connect();
        client.write_all(b"question").unwrap();
        let mut there = upstream.accept().stream;
        assert_eq!(read(&mut there, 8), b"question");
        there.write_all(b"half an ans").unwrap();
        let mut half = [0; 11];
        client.read_exact(&mut half).unwrap();
        option::set_linger(&there, Some(Duration::ZERO)).unwrap();
        drop(there);
        let end = client.read(&mut half).expect_err("a FIN would make the answer look complete");
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["cut_short"], "upstream: connection reset", "{line}");

        let mut client = lab.connect();
        client.write_all(b"question").unwrap();
        let mut there = upstream.accept().stream;
        assert_eq!(read(&mut there, 8), b"question");
        option::set_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        let end = there.read(&mut half).expect_err("the client has reset");
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn answer_to_an_unread_request_arrives_before_the_reset() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let _server = lab.serve(&to(&[ONE], "health-interval = \"0s\""), &[]);
        let mut client = lab.connect();
        client.write_all(&pattern(100)).unwrap();
        let mut there = upstream.accept().stream;
        there.write_all(b"413 too large").unwrap();
        // Unread bytes turn its close into a reset.
        drop(there);
        let mut received = [0; 13];
        client.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"413 too large");
        // Later bytes cannot be delivered, and the client is reset.
        until("a reset", || client.write_all(&pattern(100_000)).is_err());
    });
}

#[test]
fn upstream_with_the_fewest_connections_is_next() {
    isolated(|| {
        let lab = Lab::new();
        let _one = Upstream::on(&lab.host, ONE).answer("one");
        let _other = Upstream::on(&lab.host, OTHER).answer("other");
        let more = "health-interval = \"0s\"\nbalance = \"least-connections\"";
        let server = lab.serve(&to(&[ONE, OTHER], more), &["-o", "json"]);
        // One half of the connection stays open.
        let open = || {
            let mut client = lab.connect();
            client.write_all(b"?").unwrap();
            let name = answer(&mut client);
            (name, client)
        };
        let mut clients: Vec<_> = (0..6).map(|_| open()).collect();
        clients.retain(|(name, _)| name == b"one:?");
        assert_eq!(clients.len(), 3, "evenly distributed");
        let _ = server.out().first(3);
        for n in 0..3 {
            let client = open();
            assert_eq!(client.0, b"other:?", "{n} of 3");
            clients.push(client);
        }
    });
}

#[test]
fn share_of_a_down_upstream_is_divided_evenly() {
    isolated(|| {
        for balance in ["round-robin", "least-connections"] {
            let lab = Lab::new();
            let up =
                [ONE, THIRD, FOURTH].map(|address| Upstream::on(&lab.host, address).answer("up"));
            let more = format!("health-interval = \"50ms\"\nbalance = \"{balance}\"");
            let server = lab.serve(&to(&[ONE, OTHER, THIRD, FOURTH], &more), &["-o", "json"]);
            let _ = server.err().expect(&["upstream 127.0.0.1:8002 is down"]);
            for n in 0..30 {
                assert_eq!(ask(&mut lab.connect(), b"?"), b"up:?");
                // Starts the next connection after this one has ended.
                let _ = server.out().first(n + 1);
            }
            assert_eq!(up.map(|upstream| upstream.count()), [10; 3], "{balance}");
        }
    });
}

#[test]
fn recovered_upstream_with_most_connections_is_retried() {
    isolated(|| {
        let lab = Lab::new();
        let one = Upstream::on(&lab.host, ONE);
        let other = Upstream::on(&lab.host, OTHER);
        let more = "health-interval = \"0ms\"\nfast-open = false\nbalance = \"least-connections\"";
        let server = lab.serve(&to(&[ONE, OTHER], more), &[]);
        let open = |upstream: &Upstream| {
            let mut client = lab.connect();
            client.write_all(b"x").unwrap();
            let mut there = upstream.accept().stream;
            assert_eq!(read(&mut there, 1), b"x");
            (client, there)
        };
        // The first upstream has an open connection during the whole test.
        let _kept = (lab.connect(), one.accept());
        let refused = (lab.connect(), other.accept());
        drop(one);
        let also_refused: Vec<_> = (0..3).map(|_| open(&other)).collect();
        let _ = server.err().expect(&["upstream 127.0.0.1:8001 is down"]);
        drop((refused, also_refused));
        let one = Upstream::on(&lab.host, ONE).answer("one");
        drop(other);
        let _other = Upstream::on(&lab.host, OTHER).answer("other");
        until("the recovered upstream serves", || {
            thread::sleep(Duration::from_millis(100));
            ask(&mut lab.connect(), b"?") == b"one:?"
        });
        assert_eq!(one.count(), 1);
    });
}

#[test]
fn reload_with_other_upstreams_stops_old_checks_at_once() {
    isolated(|| {
        let lab = Lab::new();
        let one = Upstream::on(&lab.host, ONE).answer("one");
        let checks = |interval: &str| to(&[ONE], &format!("health-interval = \"{interval}\""));
        let server = lab.serve(&checks("1h"), &[]);
        let threads = || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
            tasks.count()
        };
        // A connection with the old settings keeps its upstream, but not the checks.
        let mut old = lab.connect();
        old.write_all(b"x").unwrap();
        until("the upstream is connected", || one.count() == 1);
        let (threads_before, open_before) = (threads(), descriptors(&server));
        for n in 0..40 {
            let _ = lab.config(&checks(if n % 2 == 0 { "59m" } else { "58m" }));
            server.signal("HUP").unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        until("the old checks end", || threads() <= threads_before);
        until("their descriptors are closed", || descriptors(&server) <= open_before);
        assert_eq!(ask(&mut old, b""), b"one:x");
        // A listener that does not forward needs no checks.
        let _ = lab.config("[listen]\nservice = \"echo\"\n");
        server.signal("HUP").unwrap();
        until("the last check ends", || threads() == threads_before - 1);
    });
}

#[test]
fn upstreams_restarted_under_load_reset_no_client() {
    isolated(|| {
        let lab = Lab::new();
        let serve = |address: &'static str, lab: &Lab| {
            let config = format!(
                "[listen]\nport = {}\nservice = \"echo\"\n",
                address.rsplit(':').next().unwrap()
            );
            let program = lab.start(&config, &[]);
            let _ = program.err().expect(&["listening on"]);
            program
        };
        let (one, other) = (serve(ONE, &lab), serve(OTHER, &lab));
        let more = "health-interval = \"100ms\"\nfast-open = false";
        let server = lab.serve(&to(&[ONE, OTHER], more), &[]);
        let mut clients = 0;
        let mut answered = |server: &Program, lab: &Lab, line: &str| {
            let start = clients;
            while server.err().count(line) == 0 || clients < start + 50 {
                let mut client = lab.connect();
                assert_eq!(ask(&mut client, b"question"), b"question", "client {clients}");
                clients += 1;
                assert!(clients < 100_000, "timeout: {line}");
            }
        };
        answered(&server, &lab, "");
        drop(one);
        answered(&server, &lab, "127.0.0.1:8001 is down");
        let one = serve(ONE, &lab);
        answered(&server, &lab, "127.0.0.1:8001 is up again");
        drop(other);
        answered(&server, &lab, "127.0.0.1:8002 is down");
        drop(one);
    });
}

#[test]
fn idle_pair_is_closed() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let more = "health-interval = \"0s\"\nidle-timeout = \"200ms\"";
        let server = lab.serve(&to(&[ONE], more), &["-o", "json"]);
        let mut client = lab.connect();
        let mut there = upstream.accept().stream;
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(100));
            there.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        // The pair was active while bytes arrived. A FIN would make the bytes look complete.
        for end in [&mut client as &mut dyn Read, &mut there] {
            assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["cut_short"], "idle-timeout", "{line}");
    });
}

/// Sends this many bytes, each determined by its position.
fn send(mut stream: impl Write, len: usize) {
    let block = pattern(1 << 20);
    let mut left = len;
    while left > 0 {
        let part = left.min(block.len());
        stream.write_all(&block[..part]).unwrap();
        left -= part;
    }
}

/// Receives what `send` sends, compares each byte, and rests in between.
fn receive(mut stream: impl Read, len: usize, rest: Duration) {
    let block = pattern(1 << 20);
    let mut buffer = vec![0; 300_000];
    let mut at = 0;
    while at < len {
        let got = stream.read(&mut buffer).unwrap();
        assert!(got > 0, "the stream ends after {at} bytes");
        let mut checked = 0;
        while checked < got {
            let from = (at + checked) % block.len();
            let part = (block.len() - from).min(got - checked);
            assert!(buffer[checked..checked + part] == block[from..from + part], "at {at}");
            checked += part;
        }
        at += got;
        thread::sleep(rest);
    }
    assert_eq!(at, len);
    assert_eq!(stream.read(&mut buffer).unwrap(), 0, "followed by the end");
}

#[test]
fn large_transfers_to_slow_readers_need_little_memory() {
    const SIZE: usize = 100_000_000;
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let server = lab.serve(&to(&[ONE], "health-interval = \"0s\""), &["-o", "json"]);
        let before = peak_memory(&server);
        let client = lab.connect();
        let there = TcpStream::from(upstream.accept().stream);
        let open = descriptors(&server);
        let ends = [&client, &there].map(|stream| stream.try_clone().unwrap());
        let [up, down] = ends.map(|stream| {
            thread::spawn(move || {
                send(&stream, SIZE);
                stream.shutdown(Shutdown::Write).unwrap();
            })
        });
        let reading = thread::spawn(move || receive(there, SIZE, Duration::from_micros(500)));
        receive(client, SIZE, Duration::from_millis(2));
        for thread in [up, down, reading] {
            thread.join().unwrap();
        }
        let most = peak_memory(&server);
        assert!(most < before + (2 << 20), "{before} B before, {most} B at most");
        let line = json(&server.out().first(1)[0]);
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&SIZE.into(), &SIZE.into()), "{line}");
        // Sockets and pipes are closed.
        until("the descriptors are closed", || descriptors(&server) <= open - 2);
    });
}

#[test]
fn stopped_reader_blocks_its_writer_in_little_memory() {
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        let server = lab.serve(&to(&[ONE], "health-interval = \"0s\""), &[]);
        let before = memory(&server);
        let mut pairs = Vec::new();
        for _ in 0..20 {
            let client = lab.connect();
            let there = TcpStream::from(upstream.accept().stream);
            there.set_nonblocking(true).unwrap();
            pairs.push((client, there));
        }
        // Until nothing moves for a while.
        let block = pattern(1 << 20);
        let mut last = Instant::now();
        let mut all = 0;
        while last.elapsed() < Duration::from_millis(300) {
            for (_, there) in &mut pairs {
                if let Ok(sent) = there.write(&block) {
                    all += sent;
                    last = Instant::now();
                }
            }
        }
        let after = memory(&server);
        assert!(all > 20 << 20, "the kernel's buffers are full: {all} bytes");
        let most = before + ((20 * 64 + 1024) << 10);
        assert!(after < most, "{before} B before, {after} B with 20 stopped");
    });
}

#[test]
fn idle_pairs_need_at_most_a_kilobyte_each() {
    const PAIRS: usize = 1000;
    isolated(|| {
        let lab = Lab::new();
        let upstream = Upstream::on(&lab.host, ONE);
        // One worker: with several, the size of each one's table would vary.
        let config = to(&[ONE], "health-interval = \"0s\"") + ONE_WORKER;
        let server = lab.serve(&config, &[]);
        let open = || {
            let mut client = lab.connect();
            client.write_all(b"x").unwrap();
            let mut there = upstream.accept().stream;
            assert_eq!(read(&mut there, 1), b"x");
            (client, there)
        };
        let mut pairs: Vec<_> = (0..100).map(|_| open()).collect();
        let before = memory(&server);
        pairs.extend((0..PAIRS).map(|_| open()));
        let after = memory(&server);
        let each = (after - before) / PAIRS as u64;
        println!("{each} B of user-space memory for an idle pair");
        assert!(each <= 1024, "{each} B each");
    });
}

#[test]
fn reload_with_equal_upstreams_keeps_their_state() {
    isolated(|| {
        let lab = Lab::new();
        let _other = Upstream::on(&lab.host, OTHER).answer("other");
        let more = "health-interval = \"50ms\"";
        let server = lab.serve(&to(&[ONE, OTHER], more), &[]);
        let _ = server.err().expect(&["127.0.0.1:8001 is down"]);
        // Unchanged upstreams: the one that is down is still known to be down, and its checks continue.
        server.signal("HUP").unwrap();
        until("the reload is complete", || server.err().count("settings reloaded") == 1);
        for _ in 0..4 {
            assert_eq!(ask(&mut lab.connect(), b"question"), b"other:question");
        }
        assert_eq!(server.err().count("is down"), 1);
        let one = Upstream::on(&lab.host, ONE).answer("one");
        let _ = server.err().expect(&["127.0.0.1:8001 is up again"]);
        // Other upstreams: open connections keep theirs.
        let mut before = lab.connect();
        before.write_all(b"?").unwrap();
        let mut name = [0; 4];
        before.read_exact(&mut name).unwrap();
        let _ = lab.config(&to(&[ONE], more));
        server.signal("HUP").unwrap();
        until("the reload is complete", || server.err().count("settings reloaded") == 2);
        let count = one.count();
        for _ in 0..4 {
            assert_eq!(ask(&mut lab.connect(), b"question"), b"one:question");
        }
        assert_eq!(one.count(), count + 4);
    });
}

#[test]
fn clients_without_an_upstream_socket_are_closed_cleanly() {
    isolated(|| {
        if !require("prlimit") {
            return;
        }
        let lab = Lab::new();
        let _one = Upstream::on(&lab.host, ONE).answer("one");
        let config = to(&[ONE], "health-interval = \"0s\"\n[engine]\nworkers = 1");
        let server = lab.serve(&config, &["-o", "json"]);
        let pid = server.id().to_string();
        let limit = |most: &str| {
            let flag = format!("--nofile={most}:");
            assert!(
                Command::new("prlimit").args(["--pid", &pid, &flag]).status().unwrap().success()
            );
        };
        // The server does not notice this: its limit was much higher at the start.
        limit(&(descriptors(&server) + 5).to_string());
        // The clients arrive at once, and each needs two descriptors.
        server.signal("STOP").unwrap();
        let mut clients: Vec<_> = (0..30).map(|_| lab.connect()).collect();
        for client in &mut clients {
            client.write_all(b"?").unwrap();
        }
        server.signal("CONT").unwrap();
        let _ = server.err().expect(&["no socket for an upstream", "ulimit -n"]);
        for mut client in clients {
            let answer = answer(&mut client);
            assert!(answer.is_empty() || answer == b"one:?", "{answer:?}");
        }
        for line in server.out().first(30) {
            let why = json(&line)["cut_short"].clone();
            assert!(why.is_null() || why == "no socket for the upstream", "{line}");
        }
        limit("512");
        for _ in 0..20 {
            assert_eq!(ask(&mut lab.connect(), b"?"), b"one:?");
        }
        assert_eq!(
            server.err().count("no socket for an upstream"),
            1,
            "logged once, not per client"
        );
        assert_eq!(server.err().count("is down"), 0, "not a failure of the upstream");
    });
}
