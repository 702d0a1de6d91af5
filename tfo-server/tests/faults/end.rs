//! How it ends under load, and begins again.

use std::io::{Read, Write};
use std::net::Shutdown;

use tfo_core::lab::{Program, isolated};
use tfo_core::socket::FastOpenStream;

use crate::load::Load;
use crate::support::{Lab, SERVER, answer, ask, until};

/// Starts a server, a load on it, and ends the server while the load goes on.
fn end_under_load(lab: &Lab, config: &str, requests: u64) {
    let server = lab.serve(config, &[]);
    let load = Load::start(&lab.host, SERVER, 8);
    load.more(requests);
    server.signal("TERM").unwrap();
    let ended = server.finish();
    let tally = load.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(tally.lost.is_empty(), "{tally:?}\n{}", ended.err);
    assert!(tally.turned_away > 0, "the load went on after the end: {tally:?}");
    assert!(tally.in_syn > 100, "half of them go in the SYN: {tally:?}");
    let total = format!("total: {} connections", tally.answered);
    assert!(ended.out.contains(&total), "{tally:?}, and {:?}", ended.out.lines().last());
}

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() {
    isolated(|| {
        for round in 0..4 {
            let config = "[listen]\nservice = \"echo\"\n[engine]\nworkers = 2\n";
            end_under_load(&Lab::new(), config, 300 + 37 * round);
        }
    });
}

#[test]
fn sigterm_under_load_loses_nothing_that_was_forwarded() {
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
fn killed_it_starts_again_at_once_and_clients_find_their_cookies_good() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo"]);
        let load = Load::start(&lab.host, SERVER, 4);
        load.more(100);
        server.signal("KILL").unwrap();
        assert_eq!(server.finish().code, None, "a signal ended it");
        // Who was connected when it was killed has lost an answer, and the kernel closes its sockets one by
        // one: nothing can help them.
        load.stop();
        // Its connections are in TIME_WAIT and FIN_WAIT, on its port.
        let server = lab.serve("", &["--service", "echo"]);
        let load = Load::start(&lab.host, SERVER, 4);
        load.more(100);
        let tally = load.stop();
        assert!(tally.lost.is_empty(), "the new one loses nobody: {tally:?}");
        assert_eq!(tally.turned_away, 0, "{tally:?}");
        assert!(tally.in_syn > 30, "the keys are the namespace's: {tally:?}");
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

/// Two who are served, and three whose requests the kernel has taken while there was no room for them.
fn three_wait(lab: &Lab) -> (Vec<std::net::TcpStream>, Vec<FastOpenStream>) {
    let mut served: Vec<_> = (0..2).map(|_| lab.connect()).collect();
    for client in &mut served {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    let waiting: Vec<_> = (0..3).map(|_| lab.fast_open(b"I wait")).collect();
    until("the kernel has taken all requests", || {
        waiting.iter().all(|client| client.info().unwrap().bytes_acked >= Some(6))
    });
    (served, waiting)
}

const ROOM_FOR_TWO: &str =
    "[listen]\nservice = \"echo\"\n[engine]\nworkers = 1\n[limits]\nconnections = 2\n";

#[test]
fn who_waits_for_room_when_it_ends_is_served_before_it_does() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(ROOM_FOR_TWO, &[]);
        let (at_work, waiting) = three_wait(&lab);
        server.signal("TERM").unwrap();
        drop(at_work);
        for mut client in waiting {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"I wait");
        }
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains("total: 5 connections"), "{}", ended.out);
    });
}

#[test]
fn who_waits_in_vain_until_the_drain_is_over_is_told_of() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(&format!("{ROOM_FOR_TWO}drain-timeout = \"100ms\"\n"), &[]);
        let (_at_work, _waiting) = three_wait(&lab);
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let warning = "warn: 127.0.0.1:2222: 3 queued connections were dropped";
        assert!(ended.err.contains(warning), "{}", ended.err);
    });
}

/// Reads one answer whose body ends so.
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
fn kept_http_connections_do_not_hold_the_end_and_begun_requests_are_answered() {
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
            assert!(!text.to_lowercase().contains("connection: close"), "it is kept: {text}");
            client
        });
        half_asked.write_all(begin.as_bytes()).unwrap();
        let mut fresh = lab.connect();
        until("all of it is read", || all_is_read(&lab));
        server.signal("TERM").unwrap();
        let _ = server.err().expect(&["stopped accepting"]);
        assert_eq!(answer(&mut idle), b"", "closed without a word");
        for (client, request) in [(&mut half_asked, rest), (&mut fresh, &*[begin, rest].concat())] {
            client.write_all(request.as_bytes()).unwrap();
            let text = http_answer(client);
            assert!(text.to_lowercase().contains("connection: close"), "the last one: {text}");
            assert_eq!(answer(client), b"");
        }
        drop((idle, half_asked, fresh));
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(!ended.out.contains("ended: "), "none was cut short: {}", ended.out);
    });
}

/// Nothing waits in a socket of this host for somebody to read it.
fn all_is_read(lab: &Lab) -> bool {
    let text = lab.host.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).unwrap();
    let established = |line: &&str| line.split_ascii_whitespace().nth(3) == Some("01");
    let queues = |line: &str| line.split_ascii_whitespace().nth(4).map(str::to_owned);
    let mut lines = text.lines().skip(1).filter(established);
    lines.all(|line| queues(line).as_deref() == Some("00000000:00000000"))
}
