//! Limits on the number of connections and on idle time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;

use tfo_core::lab::isolated;

use crate::support::{Lab, ask, json};

fn served(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn idle_connection_is_closed_and_an_active_one_is_not() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[limits]\nidle-timeout = \"1500ms\"\n";
        let server = lab.serve(config, &["--service", "echo", "-o", "json"]);
        let mut talking = lab.connect();
        let mut silent = lab.connect();
        let mut ended = false;
        silent.set_nonblocking(true).unwrap();
        // Active until the idle connection is closed, and never idle for as long as the timeout.
        while !ended {
            served(&mut talking);
            match silent.read(&mut [0]) {
                Ok(0) => ended = true,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => ended = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                other => panic!("the idle connection got {other:?}"),
            }
            thread::yield_now();
        }
        let line = json(&server.out().first(1)[0]);
        assert_eq!(line["cut_short"], "idle-timeout", "{line}");
        assert_eq!(line["bytes_in"], 0, "{line}");
        assert_eq!(ask(&mut talking, b"on"), b"on");
    });
}

#[test]
fn connection_over_the_limit_waits_until_another_ends() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("[limits]\nconnections = 2\n", &["--service", "echo"]);
        let (mut one, mut two) = (lab.connect(), lab.connect());
        served(&mut one);
        served(&mut two);
        let mut three = lab.connect();
        three.write_all(b"x").unwrap();
        // Both are served before the third, whose position in the queue follows theirs.
        for _ in 0..100 {
            served(&mut one);
            served(&mut two);
        }
        three.set_nonblocking(true).unwrap();
        let waits = three.read(&mut [0]).unwrap_err();
        assert_eq!(waits.kind(), ErrorKind::WouldBlock, "the third must wait");
        three.set_nonblocking(false).unwrap();
        drop(one);
        three.read_exact(&mut [0]).unwrap();
        served(&mut two);
        let _ = server.out().first(1);
        assert_eq!(server.out().count("no cookie"), 1, "one has ended: {}", server.out());
    });
}

#[test]
fn many_connections_are_served_concurrently() {
    isolated(|| {
        const MANY: usize = 300;
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo"]);
        let mut clients: Vec<_> = (0..MANY).map(|_| lab.connect()).collect();
        for _ in 0..2 {
            clients.iter_mut().for_each(served);
        }
        drop(clients);
        let _ = server.out().first(MANY);
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let total = ended.out.lines().last().unwrap();
        assert!(total.starts_with("total: 300 connections, 300 not-attempted;"), "{total}");
    });
}
