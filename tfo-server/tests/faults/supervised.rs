//! A server under a supervisor such as systemd: inherited sockets and notifications.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tfo_core::lab::{Program, isolated};

use crate::support::{Lab, SERVER, answer, ask, clean, json, until};

/// Starts the server as systemd does, with this socket as descriptor 3, and also as descriptor 4 if `times` is 2.
fn activate(lab: &Lab, config: &str, socket: OwnedFd, times: u8) -> Program {
    let script = format!(
        "exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS={times} LISTEN_FDNAMES=web:more exec \"$0\" \"$@\"",
    );
    let mut command = clean(Command::new("sh"));
    command.args(["-c", &script, env!("CARGO_BIN_EXE_tfo-server"), "--config"]);
    command.arg(lab.config(config));
    Program::start_with_input(&lab.host, command, socket).unwrap()
}

fn listen(lab: &Lab, address: SocketAddr) -> TcpListener {
    lab.host.run(move || TcpListener::bind(address)).unwrap()
}

#[test]
fn inherited_socket_gets_fast_open_and_outlives_the_server() {
    isolated(|| {
        let lab = Lab::new();
        let socket = listen(&lab, SERVER);
        let config = "[listen]\nservice = \"echo\"\nfastopen-queue = 64\n[engine]\nworkers = 2\n";
        let mut waits_for_a_server = Some(lab.connect());
        for round in 0..2 {
            let server = activate(&lab, config, socket.try_clone().unwrap().into(), 1);
            let line = server.err().expect(&["descriptor 3 (web) for 127.0.0.1:2222"]);
            assert!(!line.contains("warn"), "{line}");
            let _ = server.err().expect(&["listening on", "queue 64"]);
            assert_eq!(ask(&mut waits_for_a_server.take().unwrap(), b"at last"), b"at last");
            // Both workers share the socket.
            for number in 0..10 {
                let mut client = lab.fast_open(b"in the SYN");
                let in_syn = client.info().unwrap().syn_data;
                assert!(
                    in_syn || (round, number) == (0, 0),
                    "the first connection requests the cookie"
                );
                client.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(answer(&mut client), b"in the SYN");
            }
            server.signal("TERM").unwrap();
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            assert!(ended.out.contains("total: 11 connections"), "{}", ended.out);
            let first = ended.out.lines().next().unwrap();
            // The options that the first server set on the socket remain for the second.
            let unknown = first.contains(" unknown, SYN not seen, ");
            assert_eq!(unknown, round == 0, "accepted before the options were set: {first}");
            assert_eq!(ended.out.contains(", 1 unknown;"), round == 0, "{}", ended.out);
            assert!(!first.contains("syncookies"), "there is no evidence of syncookies: {first}");
            // Without a server, connections are queued and not refused.
            let mut client = lab.connect();
            client.write_all(b"").unwrap();
            waits_for_a_server = Some(client);
        }
    });
}

#[test]
fn client_before_the_server_is_unknown_everywhere() {
    isolated(|| {
        for ip in ["127.0.0.1", "::1"] {
            for service in ["echo", "discard", "mirror"] {
                let lab = Lab::new();
                let address = SocketAddr::new(ip.parse().unwrap(), SERVER.port());
                let socket = listen(&lab, address);
                let mut first = lab.host.run(move || TcpStream::connect(address)).unwrap();
                let config = format!(
                    "[listen]\naddress = \"{ip}\"\nservice = \"{service}\"\n[engine]\nworkers = 1\n\
                     [metrics]\nport = 9413\n[output]\nformat = \"json\"\n"
                );
                let server = activate(&lab, &config, socket.into(), 1);
                let _ = server.err().expect(&["listening on"]);
                let _ = ask(&mut first, b"at last\n");
                let line = json(&server.out().first(1)[0]);
                assert_eq!(line["verdict"], "unknown", "{service} {ip}: {line}");
                assert_eq!(line["cookie"], "unknown", "{service} {ip}: {line}");
                assert!(line.get("cause").is_none(), "{service} {ip}: {line}");
                let mut scrape = lab.host.run(|| TcpStream::connect("127.0.0.1:9413")).unwrap();
                let text = ask(&mut scrape, b"GET /metrics HTTP/1.0\r\n\r\n");
                let text = String::from_utf8(text).unwrap();
                let counted: Vec<_> = text
                    .lines()
                    .filter(|line| line.starts_with("tfo_server_connections_total{"))
                    .filter(|line| !line.ends_with(" 0"))
                    .collect();
                assert_eq!(counted.len(), 1, "{counted:?}");
                assert!(counted[0].contains("verdict=\"unknown\""), "{counted:?}");
                server.signal("TERM").unwrap();
                let totals = json(server.finish().out.lines().last().unwrap());
                assert_eq!(totals["totals"]["unknown"], 1, "{totals}");
                assert_eq!(totals["totals"]["verdicts"], json("{}"), "{totals}");
            }
        }
    });
}

#[test]
fn unusable_descriptor_is_reported_at_the_start() {
    isolated(|| {
        let lab = Lab::new();
        let udp = lab.host.run(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
        let other = listen(&lab, SocketAddr::new(SERVER.ip(), 8080));
        let twice = listen(&lab, SERVER);
        let connected = lab.host.run(|| TcpStream::connect("127.0.0.1:8080")).unwrap();
        let no_listener = "descriptor 3 (web): expected a listening TCP socket";
        for (socket, times, expected) in [
            (OwnedFd::from(udp), 1, no_listener),
            (connected.into(), 1, no_listener),
            (
                other.into(),
                1,
                "descriptor 3 (web) listens on 127.0.0.1:8080, which is in no [[listen]] table: expected one \
                 with address = \"127.0.0.1\" and port = 8080",
            ),
            (twice.into(), 2, "2 sockets listen on 127.0.0.1:2222: expected at most one for each"),
        ] {
            let ended = activate(&lab, "[engine]\nworkers = 1\n", socket, times).finish();
            assert_eq!(ended.code, Some(2), "{}", ended.err);
            let error = ended.err.lines().last().unwrap();
            assert!(error.starts_with("error: socket activation: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    });
}

#[test]
fn reload_that_removes_an_inherited_listener_is_refused() {
    isolated(|| {
        let lab = Lab::new();
        let socket = listen(&lab, SERVER);
        let both = "[engine]\nworkers = 2\n[[listen]]\nservice = \"echo\"\n\
                    [[listen]]\nport = 2223\nservice = \"echo\"\n";
        let server = activate(&lab, both, socket.into(), 1);
        let _ = server.err().expect(&["listening on"]);
        let reload = |config: &str, line: &str, count: usize| {
            lab.config(config);
            server.signal("HUP").unwrap();
            until(line, || server.err().count(line) == count);
        };
        let both_answer = || {
            for port in [2222, 2223] {
                let to = SocketAddr::new(SERVER.ip(), port);
                let mut client = lab.host.run(move || TcpStream::connect(to)).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                assert_eq!(ask(&mut client, b"served"), b"served", "port {port}");
            }
        };
        // Clients would wait in a socket that the server cannot close.
        reload("[listen]\nport = 2223\nservice = \"discard\"\n", "keeping the previous", 1);
        let line = server.err().expect(&["keeping the previous"]);
        for piece in ["127.0.0.1:2222", "socket activation", "needs a restart"] {
            assert!(line.contains(piece), "{piece}: {line}");
        }
        both_answer();
        // Listeners that are not inherited can be removed and added, and other settings of the inherited one can
        // change.
        reload("[listen]\nservice = \"discard\"\n", "settings reloaded", 1);
        assert_eq!(ask(&mut lab.connect(), b"discarded"), b"");
        let own = SocketAddr::new(SERVER.ip(), 2223);
        until("its own listener is closed", || {
            lab.host.run(move || TcpStream::connect(own)).is_err()
        });
        reload(both, "settings reloaded", 2);
        both_answer();
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

/// The socket that receives the server's notifications.
struct Notifications {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Notifications {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, folder }
    }

    /// Returns the next message that is not a watchdog ping, and the number of pings before it.
    fn next(&self) -> (String, usize) {
        let mut count = 0;
        loop {
            let mut buffer = [0; 4096];
            let len = self.socket.recv(&mut buffer).expect("a notification");
            let text = std::str::from_utf8(&buffer[..len]).unwrap().to_owned();
            if text != "WATCHDOG=1\n" {
                return (text, count);
            }
            count += 1;
        }
    }

    /// Waits for this many consecutive watchdog pings.
    fn expect_pings(&self, count: usize) {
        for _ in 0..count {
            let mut buffer = [0; 4096];
            let len = self.socket.recv(&mut buffer).expect("a notification");
            assert_eq!(&buffer[..len], b"WATCHDOG=1\n");
        }
    }
}

#[test]
fn systemd_gets_ready_reload_watchdog_and_stop_messages() {
    isolated(|| {
        let lab = Lab::new();
        let notifications = Notifications::new();
        let mut command = lab.command("[engine]\nworkers = 2\n", &["--service", "echo"]);
        command.env("NOTIFY_SOCKET", notifications.folder.path().join("notify"));
        command.env("WATCHDOG_USEC", "100000");
        let server = Program::start(&lab.host, command).unwrap();
        assert_eq!(notifications.next().0, "READY=1\nSTATUS=listening on 127.0.0.1:2222\n");
        assert_eq!(ask(&mut lab.connect(), b"ready"), b"ready");
        notifications.expect_pings(4);

        for (config, status) in [
            ("[listen]\nport = 2223\n", "STATUS=listening on 127.0.0.1:2223\n"),
            ("[listen]\nport = 0\n", "STATUS=listening on 127.0.0.1:2223; reload failed: "),
        ] {
            lab.config(config);
            server.signal("HUP").unwrap();
            let reloading = notifications.next().0;
            let mut lines = reloading.lines();
            assert_eq!(lines.next(), Some("RELOADING=1"));
            let moment = lines.next().and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
            assert!(moment.is_some_and(|text| text.parse::<u64>().is_ok()), "{reloading}");
            let ready = notifications.next().0;
            assert!(ready.starts_with(&format!("READY=1\n{status}")), "{ready}");
            notifications.expect_pings(1);
        }
        let mut client = lab.host.run(|| TcpStream::connect("127.0.0.1:2223")).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        server.signal("TERM").unwrap();
        let (stopping, _) = notifications.next();
        assert!(stopping.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=11000000\n"), "{stopping}");
        notifications.expect_pings(3);
        drop(client);
        assert_eq!(server.finish().code, Some(0));
    });
}

#[test]
fn ready_message_with_many_listeners_is_truncated() {
    isolated(|| {
        let lab = Lab::new();
        let notifications = Notifications::new();
        let listener = |port| format!("[[listen]]\nport = {port}\n");
        let listeners: String = (10_000..10_300).map(listener).collect();
        let mut command = lab.command(&format!("{listeners}[engine]\nworkers = 1\n"), &[]);
        command.env("NOTIFY_SOCKET", notifications.folder.path().join("notify"));
        let _server = Program::start(&lab.host, command).unwrap();
        let ready = notifications.next().0;
        let status = "READY=1\nSTATUS=listening on 127.0.0.1:10000, 127.0.0.1:10001, ";
        assert!(ready.starts_with(status) && ready.ends_with(" and 292 more\n"), "{ready}");
    });
}

#[test]
fn supervisor_with_an_abstract_address_is_notified() {
    isolated(|| {
        let lab = Lab::new();
        let address = UnixAddress::from_abstract_name("tfo/notify").unwrap();
        let supervisor = lab.host.run(move || UnixDatagram::bind_addr(&address)).unwrap();
        supervisor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = lab.command("", &[]);
        command.env("NOTIFY_SOCKET", "@tfo/notify");
        let _server = Program::start(&lab.host, command).unwrap();
        let mut buffer = [0; 4096];
        let len = supervisor.recv(&mut buffer).expect("a notification");
        assert!(buffer[..len].starts_with(b"READY=1\n"));
    });
}

#[test]
fn missing_supervisor_is_logged_and_stops_nothing() {
    isolated(|| {
        let lab = Lab::new();
        let mut command = lab.command("", &["--service", "echo"]);
        command.env("NOTIFY_SOCKET", "/nowhere/notify");
        let server = Program::start(&lab.host, command).unwrap();
        let _ = server.err().expect(&["warn: can't notify systemd: "]);
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}
