//! Behaviour when the process has no descriptors left.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tfo_core::lab::{Program, isolated};

use crate::support::{Lab, ONE_WORKER, SERVER, answer, ask, clean, json, pattern};
use crate::upstream::Upstream;

const UPSTREAM: &str = "127.0.0.1:2300";
const FORWARD: &str =
    "[listen]\nservice = \"forward\"\n[forward]\nupstreams = [\"127.0.0.1:2300\"]\n";

/// Starts the server with this descriptor limit.
fn limited(lab: &Lab, descriptors: usize, config: &str) -> Program {
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    let mut command = clean(Command::new("sh"));
    command.args(["-c", &script, env!("CARGO_BIN_EXE_tfo-server"), "-o", "json"]);
    command.arg("--config").arg(lab.config(config));
    let server = Program::start(&lab.host, command).unwrap();
    let _ = server.err().expect(&["listening on"]);
    server
}

/// Connects this many clients at once, and checks the answer to each client's own question.
fn ask_all(lab: &Lab, count: usize) {
    let mut clients: Vec<_> = (0..count).map(|_| lab.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(number.to_string().as_bytes()).unwrap();
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        assert_eq!(answer(&mut client), format!("one:{number}").as_bytes());
    }
}

#[test]
fn forwarded_clients_wait_for_an_upstream_descriptor() {
    isolated(|| {
        for (descriptors, workers) in [(64, 2), (64, 1), (24, 1), (40, 4)] {
            let lab = Lab::new();
            let upstream = Upstream::on(&lab.host, UPSTREAM).answer("one");
            let config = format!("{FORWARD}[engine]\nworkers = {workers}\n");
            let server = limited(&lab, descriptors, &config);
            ask_all(&lab, 150);
            assert_eq!(upstream.count(), 150);
            let _ = server.err().expect(&["no descriptors left for a client and its upstream"]);
            assert_eq!(server.err().count("no socket"), 0, "{}", server.err());
            server.signal("TERM").unwrap();
            let ended = server.finish();
            let lines: Vec<_> = ended.out.lines().map(json).collect();
            assert_eq!(lines.len(), 151, "{}", ended.out);
            let cut = lines.iter().filter(|line| line["cut_short"].is_string()).count();
            assert_eq!(cut, 0, "{descriptors}: {}", ended.out);
        }
    });
}

#[test]
fn server_that_waits_for_descriptors_sleeps() {
    isolated(|| {
        let lab = Lab::new();
        let _upstream = Upstream::on(&lab.host, UPSTREAM).answer("one");
        let config = format!(
            "{}[[listen]]\nport = 2223\n[engine]\nworkers = 2\n",
            FORWARD.replace("[listen]", "[[listen]]").replace("[forward]", "[listen.forward]")
        );
        let server = limited(&lab, 64, &config);
        let _silent: Vec<_> = (0..60).map(|_| lab.connect()).collect();
        let _ = server.err().expect(&["no descriptors left for a client and its upstream"]);
        let used = || {
            let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
            let nanos = tasks.map(|task| {
                let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
                text.split(' ').next().unwrap().parse::<u64>().unwrap()
            });
            Duration::from_nanos(nanos.sum())
        };
        let (before, since) = (used(), Instant::now());
        sleep(Duration::from_secs(1));
        let (used, of) = (used().saturating_sub(before), since.elapsed());
        assert!(used < of / 10, "used {used:?} of CPU time in {of:?}");
    });
}

/// Each client needs three descriptors. Having the third must not depend on other clients.
#[test]
fn clients_forwarded_to_the_same_server_are_all_served() {
    isolated(|| {
        let lab = Lab::new();
        let config = format!(
            "{}[[listen]]\nport = 2300\nservice = \"echo\"\n[engine]\nworkers = 2\n",
            FORWARD.replace("[listen]", "[[listen]]").replace("[forward]", "[listen.forward]")
        );
        let server = limited(&lab, 64, &config);
        let mut clients: Vec<_> = (0..150).map(|_| lab.connect()).collect();
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
        }
        for mut client in clients {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut client), b"hello");
        }
        assert_eq!(server.err().count("no socket"), 0, "{}", server.err());
    });
}

/// Other listeners must not take descriptors that are reserved for upstreams.
#[test]
fn forwarded_clients_are_served_beside_a_full_listener() {
    isolated(|| {
        let lab = Lab::new();
        let _upstream = Upstream::on(&lab.host, UPSTREAM).answer("one");
        let config = format!(
            "[[listen]]\nport = 2223\nservice = \"echo\"\n{}[engine]\nworkers = 2\n",
            FORWARD.replace("[listen]", "[[listen]]")
        );
        let server = limited(&lab, 64, &config);
        let crowd = lab.host.run(|| {
            let connect = |_| TcpStream::connect((SERVER.ip(), 2223)).unwrap();
            (0..100).map(connect).collect::<Vec<_>>()
        });
        let _ = server.err().expect(&["no descriptors left"]);
        let mut waiting: Vec<_> = (0..20).map(|_| lab.connect()).collect();
        for client in &mut waiting {
            client.write_all(b"?").unwrap();
        }
        drop(crowd);
        for mut client in waiting {
            assert_eq!(answer(&mut client), b"one:?");
        }
        assert_eq!(server.err().count("no socket"), 0, "{}", server.err());
    });
}

#[test]
fn bulk_transfers_leave_descriptors_for_other_clients() {
    isolated(|| {
        let lab = Lab::new();
        let echo = lab.config("[listen]\nport = 2300\nservice = \"echo\"\n");
        let mut command = clean(Command::new(env!("CARGO_BIN_EXE_tfo-server")));
        command.arg("--config").arg(&echo);
        let upstream = Program::start(&lab.host, command).unwrap();
        let _ = upstream.err().expect(&["listening on"]);
        let server = limited(&lab, 64, &format!("{FORWARD}[engine]\nworkers = 2\n"));
        // Enough of each direction for a pipe, which needs two descriptors.
        let bytes = pattern(1 << 20);
        std::thread::scope(|scope| {
            for _ in 0..60 {
                let mut client = lab.connect();
                let bytes = &bytes;
                scope.spawn(move || {
                    let mut writer = client.try_clone().unwrap();
                    let written = scope.spawn(move || {
                        writer.write_all(bytes).unwrap();
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    assert!(answer(&mut client) == *bytes, "echoed");
                    written.join().unwrap();
                });
            }
        });
        assert_eq!(server.err().count("no socket"), 0, "{}", server.err());
    });
}

#[test]
fn reload_to_forwarding_reserves_upstream_descriptors() {
    isolated(|| {
        let lab = Lab::new();
        let _upstream = Upstream::on(&lab.host, UPSTREAM).answer("one");
        let workers = "[engine]\nworkers = 2\n";
        let server = limited(&lab, 64, &format!("[listen]\nservice = \"echo\"\n{workers}"));
        let old: Vec<_> = (0..10).map(|_| lab.connect()).collect();
        lab.config(&format!("{FORWARD}{workers}"));
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["settings reloaded"]);
        ask_all(&lab, 150);
        assert_eq!(server.err().count("no socket"), 0, "{}", server.err());
        drop(old);
    });
}

#[test]
fn server_out_of_descriptors_warns_once_and_recovers() {
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
        assert!(
            warning.contains("ulimit -n") && warning.contains("new ones are queued"),
            "{warning}"
        );

        // As many as there are descriptors for, in the order of arrival.
        let open: usize = warning
            .split("still serving ")
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
