//! Obstacles at the start.

use std::io::{Read, Write};
use std::process::Command;

use tfo_core::lab::{Program, isolated};

use crate::support::{Lab, ask, clean};

/// The server's workers share its port; a second server must not share it.
#[test]
fn second_server_on_the_same_port_is_refused() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[engine]\nworkers = 2\n";
        let first = lab.serve(config, &["--service", "echo"]);
        let ended = lab.start(config, &["--service", "discard"]).finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't listen on 127.0.0.1:2222: "), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
        for _ in 0..20 {
            assert_eq!(ask(&mut lab.connect(), b"mine"), b"mine");
        }
        first.signal("TERM").unwrap();
        assert_eq!(first.finish().code, Some(0));
    });
}

/// If one of several listeners cannot be bound, the server does not start.
#[test]
fn occupied_port_among_several_listeners_is_reported() {
    isolated(|| {
        let lab = Lab::new();
        let taken = lab.host.run(|| std::net::TcpListener::bind("127.0.0.1:2223")).unwrap();
        let config = "[[listen]]\nport = 2222\n[[listen]]\nport = 2223\n";
        let ended = lab.start(config, &[]).finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't listen on 127.0.0.1:2223: "), "{error}");
        drop(taken);
        let server = lab.serve(config, &[]);
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

/// The soft limit is for programs that use select(2).
#[test]
fn descriptor_limit_is_raised_and_its_capacity_logged() {
    isolated(|| {
        let lab = Lab::new();
        let mut command = clean(Command::new("sh"));
        let script = "ulimit -Sn 100; ulimit -Hn 300; exec \"$0\" \"$@\"";
        command.args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_tfo-server"),
            "--service",
            "echo",
            "--config",
        ]);
        command.arg(lab.config("[engine]\nworkers = 2\n[limits]\nconnections = 5000\n"));
        let server = Program::start(&lab.host, command).unwrap();
        let line = server.err().expect(&["descriptor limit 300, enough for "]);
        let enough: usize = line.split_ascii_whitespace().rev().nth(1).unwrap().parse().unwrap();
        let warning = server.err().expect(&["warn: limits.connections is 5000"]);
        assert!(
            warning.contains(&enough.to_string()) && warning.contains("LimitNOFILE="),
            "{warning}"
        );
        let _ = server.err().expect(&["listening on"]);

        let exchange = |client: &mut std::net::TcpStream| {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        };
        let mut clients: Vec<_> = (0..enough).map(|_| lab.connect()).collect();
        clients.iter_mut().for_each(exchange);
        assert_eq!(
            server.err().count("no descriptors left"),
            0,
            "within the logged capacity: {}",
            server.err()
        );
        server.signal("TERM").unwrap();
        drop(clients);
        assert_eq!(server.finish().code, Some(0));
    });
}
