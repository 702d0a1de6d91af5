//! The limits on connections and on silence.

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
fn a_silent_connection_is_closed_and_a_talking_one_is_not() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[limits]\nidle-timeout = \"1500ms\"\n";
        let server = lab.serve(config, &["--service", "echo", "-o", "json"]);
        let mut talking = lab.connect();
        let mut silent = lab.connect();
        let mut ended = false;
        silent.set_nonblocking(true).unwrap();
        // It talks until the silent one is closed: no longer, and never for as long as the timeout.
        while !ended {
            served(&mut talking);
            match silent.read(&mut [0]) {
                Ok(0) => ended = true,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => ended = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                other => panic!("the silent one got {other:?}"),
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
fn over_the_limit_a_connection_waits_and_is_served_when_another_ends() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("[limits]\nconnections = 2\n", &["--service", "echo"]);
        let (mut one, mut two) = (lab.connect(), lab.connect());
        served(&mut one);
        served(&mut two);
        let mut three = lab.connect();
        three.write_all(b"x").unwrap();
        // The two are served meanwhile, in an order that puts the third behind them.
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
fn many_connections_are_served_at_once() {
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
