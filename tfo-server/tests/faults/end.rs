//! How it ends under load, and begins again.

use std::io::{Read, Write};
use std::net::Shutdown;

use tfo_core::lab::isolated;
use tfo_core::socket::FastOpenStream;

use crate::harness::{Lab, SERVER, answer, ask};
use crate::load::Load;
use crate::process::until;

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() {
    isolated(|| {
        for round in 0..4 {
            let lab = Lab::new();
            let config = "[engine]\nworkers = 2\n";
            let server = lab.serve(config, &["--service", "echo"]);
            let load = Load::start(&lab.host, SERVER, 8);
            load.more(300 + 37 * round);
            server.signal("TERM").unwrap();
            let ended = server.finish();
            let tally = load.stop();
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            assert!(tally.lost.is_empty(), "round {round}: {tally:?}\n{}", ended.err);
            assert!(tally.turned_away > 0, "the load went on after the end: {tally:?}");
            assert!(tally.in_syn > 100, "half of them go in the SYN: {tally:?}");
            let total = format!("total: {} connections", tally.answered);
            assert!(ended.out.contains(&total), "{tally:?}, and {:?}", ended.out.lines().last());
        }
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
        // Its connections are in TIME_WAIT and FIN_WAIT, on its port.
        let server = lab.serve("", &["--service", "echo"]);
        load.more(100);
        let tally = load.stop();
        assert!(tally.in_syn > 50, "the keys are the namespace's: {tally:?}");
        // Who was connected when it was killed has lost an answer: nothing can help them. The kernel closes
        // its sockets one by one: the next try may have come to a listener that was next.
        assert!(tally.lost.len() <= 2 * 4, "no more than two of each client: {tally:?}");
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
        let warning = "warn: 127.0.0.1:2222: 3 connections waited in vain";
        assert!(ended.err.contains(warning), "{}", ended.err);
    });
}
