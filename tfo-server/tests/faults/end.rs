//! Stopping under load, and starting again.

use std::io::{Read, Write};
use std::net::Shutdown;

use tfo_core::lab::{Program, isolated};
use tfo_core::socket::FastOpenStream;

use crate::load::Load;
use crate::support::{Lab, SERVER, answer, ask, until};

/// Starts a server and a load, and stops the server during the load.
fn end_under_load(lab: &Lab, config: &str, requests: u64) {
    let server = lab.serve(config, &[]);
    let load = Load::start(&lab.host, SERVER, 8);
    load.more(requests);
    server.signal("TERM").unwrap();
    let ended = server.finish();
    let tally = load.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(tally.lost.is_empty(), "{tally:?}\n{}", ended.err);
    assert!(tally.turned_away > 0, "the load continued after the stop: {tally:?}");
    assert!(tally.in_syn > 100, "half of the requests are in a SYN: {tally:?}");
    let total = format!("total: {} connections", tally.answered);
    assert!(ended.out.contains(&total), "{tally:?}, and {:?}", ended.out.lines().last());
}

#[test]
fn sigterm_under_load_loses_no_acknowledged_request() {
    isolated(|| {
        for round in 0..4 {
            let config = "[listen]\nservice = \"echo\"\n[engine]\nworkers = 2\n";
            end_under_load(&Lab::new(), config, 300 + 37 * round);
        }
    });
}

#[test]
fn sigterm_under_load_loses_no_forwarded_request() {
    isolated(|| {
        let (upstream, front) = (Lab::new(), Lab::new());
        let config = "[listen]\nport = 2223\nservice = \"echo\"\n";
        // Another program on the same host.
        let command = upstream.command(config, &[]);
        let upstream = Program::start(&front.host, command).unwrap();
        let _ = upstream.err().expect(&["listening on"]);
        let config = "[listen]\nservice = \"forward\"\n[engine]\nworkers = 2\n\
            [forward]\nupstreams = [\"127.0.0.1:2223\"]\n";
        for round in 0..2 {
            end_under_load(&front, config, 300 + 37 * round);
        }
        upstream.signal("TERM").unwrap();
        assert_eq!(upstream.finish().code, Some(0));
    });
}

#[test]
fn killed_server_restarts_at_once_and_accepts_old_cookies() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo"]);
        let load = Load::start(&lab.host, SERVER, 4);
        load.more(100);
        server.signal("KILL").unwrap();
        assert_eq!(server.finish().code, None, "a signal ended it");
        // The clients that were connected to the killed server have lost an answer, and the kernel closes its sockets
        // one by one. They are not counted.
        load.stop();
        // The port has connections of the killed server in TIME_WAIT and FIN_WAIT.
        let server = lab.serve("", &["--service", "echo"]);
        let load = Load::start(&lab.host, SERVER, 4);
        load.more(100);
        let tally = load.stop();
        assert!(tally.lost.is_empty(), "the new server loses no request: {tally:?}");
        assert_eq!(tally.turned_away, 0, "{tally:?}");
        assert!(tally.in_syn > 30, "the keys belong to the namespace: {tally:?}");
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

/// Connects two clients that are served, and three whose requests are acknowledged while no connection is free.
fn fill_and_queue_three(lab: &Lab) -> (Vec<std::net::TcpStream>, Vec<FastOpenStream>) {
    let mut open: Vec<_> = (0..2).map(|_| lab.connect()).collect();
    for client in &mut open {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    let queued: Vec<_> = (0..3).map(|_| lab.fast_open(b"I wait")).collect();
    until("the kernel has acknowledged all requests", || {
        queued.iter().all(|client| client.info().unwrap().bytes_acked >= Some(6))
    });
    (open, queued)
}

const ROOM_FOR_TWO: &str =
    "[listen]\nservice = \"echo\"\n[engine]\nworkers = 1\n[limits]\nconnections = 2\n";

#[test]
fn queued_connections_are_served_before_the_server_stops() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(ROOM_FOR_TWO, &[]);
        let (open, queued) = fill_and_queue_three(&lab);
        server.signal("TERM").unwrap();
        drop(open);
        for mut client in queued {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"I wait");
        }
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains("total: 5 connections"), "{}", ended.out);
    });
}

#[test]
fn connections_dropped_at_drain_timeout_are_logged() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(&format!("{ROOM_FOR_TWO}drain-timeout = \"100ms\"\n"), &[]);
        let (_open, _queued) = fill_and_queue_three(&lab);
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let warning = "warn: 127.0.0.1:2222: 3 queued connections were dropped";
        assert!(ended.err.contains(warning), "{}", ended.err);
    });
}

/// Reads one answer to the end of its body.
fn http_answer(client: &mut std::net::TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"the answer") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn idle_http_connections_do_not_delay_the_stop() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[listen]\nservice = \"respond\"\n[respond]\nhttp = true\nbody = \"the answer\"\n\
            [limits]\ndrain-timeout = \"1h\"\nidle-timeout = \"1h\"\nheader-timeout = \"1h\"\n";
        let server = lab.serve(config, &[]);
        let (begin, rest) = ("GET / HTTP/1.1\r\nHo", "st: tfo\r\n\r\n");
        let [mut idle, mut half_asked] = [(); 2].map(|()| {
            let mut client = lab.connect();
            client.write_all([begin, rest].concat().as_bytes()).unwrap();
            let text = http_answer(&mut client);
            assert!(
                !text.to_lowercase().contains("connection: close"),
                "the connection persists: {text}"
            );
            client
        });
        half_asked.write_all(begin.as_bytes()).unwrap();
        let mut fresh = lab.connect();
        until("all input is read", || all_is_read(&lab));
        server.signal("TERM").unwrap();
        let _ = server.err().expect(&["stopped accepting"]);
        assert_eq!(answer(&mut idle), b"", "closed without an answer");
        for (client, request) in [(&mut half_asked, rest), (&mut fresh, &*[begin, rest].concat())] {
            client.write_all(request.as_bytes()).unwrap();
            let text = http_answer(client);
            assert!(text.to_lowercase().contains("connection: close"), "the last answer: {text}");
            assert_eq!(answer(client), b"");
        }
        drop((idle, half_asked, fresh));
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(!ended.out.contains("ended: "), "no connection was cut short: {}", ended.out);
    });
}

/// Returns whether no socket of this host has unread data.
fn all_is_read(lab: &Lab) -> bool {
    let text = lab.host.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).unwrap();
    let established = |line: &&str| line.split_ascii_whitespace().nth(3) == Some("01");
    let queues = |line: &str| line.split_ascii_whitespace().nth(4).map(str::to_owned);
    let mut lines = text.lines().skip(1).filter(established);
    lines.all(|line| queues(line).as_deref() == Some("00000000:00000000"))
}
