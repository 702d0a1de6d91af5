//! Stopping loses no connection: as an unprivileged user, under load, on loopback and on a path with a round trip of
//! 200 ms.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::unistd::User;
use tfo_core::capture::Direction;
use tfo_core::lab::{Finished, Host, Network, PathSettings, Program, isolated};
use tfo_core::socket::{Connector, Method};

use crate::load::Load;
use crate::rights::{is_root_of_the_host, may_switch_users, open_to_others};
use crate::support::{Lab, SERVER, clean, until};

const ROUND_TRIP: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);
const FIRST_PORT: u16 = 2300;
const UPSTREAM: u16 = 8001;

/// The program and the folder of its configuration, for an unprivileged user.
struct Unprivileged {
    binary: PathBuf,
    lab: Lab,
    user: Option<(u32, u32)>,
}

impl Unprivileged {
    fn new() -> Self {
        let lab = Lab::new();
        open_to_others(&lab);
        let binary = lab.path("tfo-server");
        std::fs::copy(env!("CARGO_BIN_EXE_tfo-server"), &binary).unwrap();
        // Otherwise the tests already run as an unprivileged user that is root in a user namespace.
        let user = is_root_of_the_host().then(|| User::from_name("nobody").unwrap().unwrap());
        let user = user.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
        Self { binary, lab, user }
    }

    fn command(&self, name: &str, config: &str) -> Command {
        let path = self.lab.path(name);
        std::fs::write(&path, config).unwrap();
        let mut command = if let Some((uid, gid)) = self.user {
            let mut command = Command::new(&self.binary);
            command.uid(uid).gid(gid);
            command
        } else {
            let mut command = Command::new("setpriv");
            command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(&self.binary);
            command
        };
        command.arg("--config").arg(path);
        clean(command)
    }

    /// Starts a server to forward to, which is not stopped.
    fn upstream(&self, host: &Host) -> Program {
        let config =
            format!("[listen]\nport = {UPSTREAM}\nservice = \"echo\"\n[output]\nlines = false\n");
        self.serve(host, "upstream.toml", &config)
    }

    fn serve(&self, host: &Host, name: &str, config: &str) -> Program {
        let server = Program::start(host, self.command(name, config)).unwrap();
        let _ = server.err().expect(&["info: keys: "]);
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
        assert!(status.contains("CapEff:\t0000000000000000"), "no capabilities are left: {status}");
        server
    }
}

/// Clients that send requests one after another on keep-alive connections.
struct KeepAlive {
    clients: Vec<JoinHandle<Vec<String>>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl KeepAlive {
    fn start(host: &Host, server: SocketAddr, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            host.run(move || thread::spawn(move || ask_on(server, &stop, &answered)))
        };
        let clients = (0..clients).map(client).collect();
        Self { clients, stop, answered }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops the clients. Returns the requests without an answer.
    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn ask_on(server: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) -> Vec<String> {
    let mut lost = Vec::new();
    'connections: while !stop.load(Ordering::Relaxed) {
        let connector = Connector::default().method(Method::Off).timeout(PATIENCE);
        let Ok(stream) = connector.connect(server, b"") else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let mut stream = TcpStream::from(stream);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        while !stop.load(Ordering::Relaxed) {
            let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            match sent.and_then(|()| http_answer(&mut stream)) {
                Ok(text) => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    if text.contains("Connection: close") {
                        continue 'connections;
                    }
                }
                Err(e) => {
                    lost.push(e.to_string());
                    continue 'connections;
                }
            }
        }
    }
    lost
}

/// Reads one answer, which ends with `</end>`.
fn http_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"</end>") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Returns a configuration with a listener of each service, starting at this port.
fn config(address: IpAddr, port: u16) -> String {
    let [http, forward] = [1, 2].map(|more| port + more);
    format!(
        "[[listen]]\naddress = \"{address}\"\nport = {port}\nservice = \"echo\"\n\
         [[listen]]\naddress = \"{address}\"\nport = {http}\nservice = \"respond\"\n\
         [listen.respond]\nhttp = true\nbody = \"an answer</end>\"\n\
         [[listen]]\naddress = \"{address}\"\nport = {forward}\nservice = \"forward\"\n\
         [listen.forward]\nupstreams = [\"127.0.0.1:{UPSTREAM}\"]\nhealth-interval = \"0s\"\n\
         [engine]\nworkers = 2\n[output]\nlines = false\n"
    )
}

/// The clients of a server that is stopped under load.
struct Stage {
    server: Program,
    echo: Load,
    forwarded: Load,
    kept: KeepAlive,
}

impl Stage {
    fn start(server: Program, clients: &Host, address: IpAddr, port: u16, count: usize) -> Self {
        let at = |more: u16| SocketAddr::new(address, port + more);
        Self {
            server,
            echo: Load::start(clients, at(0), count),
            kept: KeepAlive::start(clients, at(1), count),
            forwarded: Load::start(clients, at(2), count),
        }
    }

    /// Stops the server after this many answered requests of each kind. No client may notice.
    fn stop(self, after: u64) -> Finished {
        self.echo.more(after);
        self.forwarded.more(after);
        until("requests are answered", || self.kept.answered() >= after);
        self.server.signal("TERM").unwrap();
        let ended = self.server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for (name, load) in [("echo", self.echo), ("forward", self.forwarded)] {
            let tally = load.stop();
            assert!(tally.lost.is_empty(), "{name}: {tally:?}\n{}", ended.err);
            assert!(tally.in_syn > 0, "{name}: half of them go in the SYN: {tally:?}");
        }
        let lost = self.kept.stop();
        assert!(lost.is_empty(), "kept connections: {lost:?}\n{}", ended.err);
        assert!(!ended.err.contains("warn"), "{}", ended.err);
        ended
    }
}

#[test]
fn ten_stops_on_loopback_lose_no_connection() {
    isolated(|| {
        let unprivileged = Unprivileged::new();
        let host = &unprivileged.lab.host;
        let _upstream = unprivileged.upstream(host);
        for round in 0..10 {
            let address = SERVER.ip();
            let server = unprivileged.serve(host, "server.toml", &config(address, FIRST_PORT));
            Stage::start(server, host, address, FIRST_PORT, 4).stop(40 + 13 * round);
        }
    });
}

#[test]
fn ten_stops_on_a_delayed_path_lose_no_connection() {
    isolated(|| {
        let unprivileged = Unprivileged::new();
        let network = Network::new(PathSettings::new().round_trip(ROUND_TRIP)).unwrap();
        let _upstream = unprivileged.upstream(network.server());
        for v6 in [false, true] {
            let address = Network::server_address(v6);
            let stages: Vec<_> = (0..5_u16)
                .map(|number| {
                    let port = FIRST_PORT + 3 * number;
                    let (name, config) = (format!("{number}.toml"), config(address, port));
                    let server = unprivileged.serve(network.server(), &name, &config);
                    Stage::start(server, network.client(), address, port, 4)
                })
                .collect();
            let stops = stages.into_iter().zip(13..).map(|(stage, after)| {
                // Each at another moment of the clients' round trips.
                thread::spawn(move || stage.stop(after))
            });
            for stop in stops.collect::<Vec<_>>() {
                stop.join().unwrap();
            }
        }
        assert_eq!(network.missed(), 0);
    });
}

#[test]
fn stop_with_dropped_privileges_loses_no_connection() {
    isolated(|| {
        if !may_switch_users() {
            return;
        }
        let unprivileged = Unprivileged::new();
        let lab = &unprivileged.lab;
        let _upstream = unprivileged.upstream(&lab.host);
        for round in 0..3 {
            let user = "[process]\nuser = \"nobody\"\n";
            let config = config(SERVER.ip(), FIRST_PORT) + user;
            let server = lab.start(&config, &[]);
            let _ = server.err().expect(&["info: keys: "]);
            Stage::start(server, &lab.host, SERVER.ip(), FIRST_PORT, 4).stop(40 + 13 * round);
        }
    });
}

/// The handshake began before the server was stopped: it completes, and the connection is served.
#[test]
fn handshake_in_flight_at_stop_completes_and_is_served() {
    isolated(|| {
        let unprivileged = Unprivileged::new();
        let network = Network::new(PathSettings::new().round_trip(2 * ROUND_TRIP)).unwrap();
        for v6 in [false, true] {
            let address = Network::server_address(v6);
            let server =
                unprivileged.serve(network.server(), "one.toml", &config(address, FIRST_PORT));
            let to = SocketAddr::new(address, FIRST_PORT);
            let before = network.packets().len();
            let client = network.client().run(move || {
                thread::spawn(move || {
                    let connector = Connector::default().method(Method::Off).timeout(PATIENCE);
                    let mut stream = TcpStream::from(connector.connect(to, b"").unwrap());
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    for request in [b"first ", b"second"] {
                        stream.write_all(request).unwrap();
                        let mut answer = [0; 6];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(&answer, request);
                    }
                })
            });
            until("the SYN arrives", || {
                network.packets().iter().skip(before).any(|packet| {
                    packet.direction == Direction::ToClient && packet.arrived.is_none()
                })
            });
            server.signal("TERM").unwrap();
            client.join().unwrap();
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{}", ended.err);
        }
    });
}

#[test]
fn two_simultaneous_signals_count_as_one() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo"]);
        let mut client = lab.connect();
        client.write_all(b"one").unwrap();
        client.read_exact(&mut [0; 3]).unwrap();
        // As `timeout` sends them: to the process, and to its group.
        server.signal_burst("TERM", 5).unwrap();
        let _ = server.err().expect(&["stopped accepting"]);
        client.write_all(b"two").unwrap();
        client.read_exact(&mut [0; 3]).unwrap();
        drop(client);
        let ended = server.finish();
        assert_eq!(ended.code, Some(0));
        assert!(!ended.err.contains("second signal"), "{}", ended.err);
    });
}
