//! When the process has no descriptors left.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use tfo_core::lab::{Program, isolated};

use crate::harness::{Lab, ONE_WORKER, ask, clean};

#[test]
fn out_of_descriptors_it_serves_those_it_has_warns_once_and_recovers() {
    isolated(|| {
        let lab = Lab::new();
        let script = "ulimit -n 20; exec \"$0\" \"$@\"";
        let mut command = clean(Command::new("sh"));
        command.args(["-c", script, env!("CARGO_BIN_EXE_tfo-server"), "--service", "echo"]);
        command.arg("--config").arg(lab.config(ONE_WORKER));
        let server = Program::start(&lab.host, command).unwrap();
        let _ = server.err().expect(&["listening on"]);

        let mut clients: Vec<TcpStream> = (0..40).map(|_| lab.connect()).collect();
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        let warning = server.err().expect(&["warn: no descriptors left"]);
        assert!(warning.contains("ulimit -n") && warning.contains("new ones wait"), "{warning}");

        // As many as it has descriptors for, in the order in which they came.
        let open: usize = warning
            .split("): ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no number in {warning}"));
        assert!((1..20).contains(&open), "{warning}");
        let mut waiting = clients.split_off(open);
        for client in &mut clients {
            client.read_exact(&mut [0]).unwrap();
            client.write_all(b"y").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        let last = waiting.last_mut().unwrap();
        last.set_nonblocking(true).unwrap();
        assert_eq!(last.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        last.set_nonblocking(false).unwrap();

        drop(clients);
        for mut client in waiting {
            client.read_exact(&mut [0]).unwrap();
        }
        assert_eq!(ask(&mut lab.connect(), b"recovered"), b"recovered");
        assert_eq!(server.err().count("no descriptors left"), 1, "{}", server.err());
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.contains("total: 41 connections"), "{}", ended.out);
    });
}
