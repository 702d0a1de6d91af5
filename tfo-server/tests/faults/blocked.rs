//! Blocked output, or files without data: the server continues to serve, and stops when signalled.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tfo_core::lab::{Program, isolated};

use crate::load::Load;
use crate::support::{Lab, SERVER, ask, clean, raise_descriptors, until};

const METRICS: &str = "[metrics]\nport = 9413\n";

/// Returns the two ends of a stream whose buffer is full and whose reader does not read.
fn full() -> (UnixStream, Stdio) {
    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let filled = (0..).find_map(|_| writer.write_all(&[b'x'; 999]).err()).unwrap();
    assert_eq!(filled.kind(), ErrorKind::WouldBlock);
    writer.set_nonblocking(false).unwrap();
    (reader, Stdio::from(OwnedFd::from(writer)))
}

/// Starts a server with these standard streams, and waits until it serves.
fn spawn(lab: &Lab, mut command: Command, out: Stdio, err: Stdio) -> Child {
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let server = lab.host.spawn(command).unwrap();
    until("the server listens", || lab.host.run(|| TcpStream::connect(SERVER)).is_ok());
    server
}

fn signal(server: &Child, name: &str) {
    let pid = server.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

fn ended(server: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the server ends", || {
        status = server.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn metric(lab: &Lab, name: &str) -> u64 {
    let text = lab.host.run(|| {
        let mut stream = TcpStream::connect(SocketAddr::new(SERVER.ip(), 9413)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Returns a configuration with an echo listener at [`SERVER`] and a thousand others.
fn several(more: &str) -> String {
    let listener = |port| format!("[[listen]]\nport = {port}\nservice = \"echo\"\n");
    let all: String = (20_000..21_000).chain([SERVER.port()]).map(listener).collect();
    format!("{all}[engine]\nworkers = 1\n{more}")
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn full_stderr_at_start_blocks_neither_clients_nor_signals() {
    isolated(|| {
        let lab = Lab::new();
        let (reader, err) = full();
        let command = lab.command("", &["--service", "echo", "-vv"]);
        let mut server = spawn(&lab, command, Stdio::null(), err);
        let load = Load::start(&lab.host, SERVER, 4);
        load.more(200);
        signal(&server, "HUP");
        load.more(200);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        signal(&server, "TERM");
        assert_eq!(ended(&mut server).code(), Some(0));
        drop(reader);
    });
}

#[test]
fn log_lines_lost_to_full_stderr_are_counted_and_logged() {
    isolated(|| {
        let lab = Lab::new();
        let (mut reader, err) = full();
        let mut server = spawn(&lab, lab.command(&several(METRICS), &[]), Stdio::null(), err);
        assert_eq!(
            metric(&lab, "tfo_server_log_lines_lost_total"),
            0,
            "the queue holds a few lines"
        );
        // Each listener logs a line that its change needs a restart.
        let other_backlogs = several(METRICS).replace("[[listen]]\n", "[[listen]]\nbacklog = 9\n");
        for port in 10_000..10_030 {
            lab.config(&format!("[[listen]]\nport = {port}\n{other_backlogs}"));
            signal(&server, "HUP");
            let new = SocketAddr::new(SERVER.ip(), port);
            until("the reload is complete", || {
                lab.host.run(move || TcpStream::connect(new)).is_ok()
            });
        }
        until("lines are lost", || metric(&lab, "tfo_server_log_lines_lost_total") > 0);
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");

        let lost = metric(&lab, "tfo_server_log_lines_lost_total");
        let mut log = Vec::new();
        reader.set_nonblocking(true).unwrap();
        let report = "standard error works again; ";
        until("the loss is logged", || {
            let _ = reader.read_to_end(&mut log);
            String::from_utf8_lossy(&log).contains(report)
        });
        signal(&server, "TERM");
        assert_eq!(ended(&mut server).code(), Some(0));
        reader.set_nonblocking(false).unwrap();
        reader.read_to_end(&mut log).unwrap();
        let log = String::from_utf8_lossy(&log);
        let log = log.trim_start_matches('x');
        let number = log.split(report).nth(1).unwrap().split(' ').next().unwrap();
        assert!(number.parse::<u64>().unwrap() >= lost, "{number} and {lost}");
        let at = |piece: &str| log.find(piece).unwrap_or_else(|| panic!("no {piece} in the log"));
        let order =
            ["info: configuration file", "info: listening on", report, "info: stopped accepting"];
        assert!(order.map(at).is_sorted(), "in order");
    });
}

#[test]
fn server_with_all_streams_full_serves_and_stops() {
    isolated(|| {
        let lab = Lab::new();
        let ((_out, out), (_err, err)) = (full(), full());
        let mut server = spawn(&lab, lab.command("", &["--service", "echo"]), out, err);
        let load = Load::start(&lab.host, SERVER, 4);
        load.more(200);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        signal(&server, "TERM");
        assert_eq!(ended(&mut server).code(), Some(0));
    });
}

#[test]
fn slow_supervisor_blocks_nothing_and_gets_all_messages() {
    isolated(|| {
        let lab = Lab::new();
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let crowd = UnixDatagram::unbound().unwrap();
        crowd.set_nonblocking(true).unwrap();
        let full = (0..).find_map(|_| crowd.send_to(b"X=1", &path).err()).unwrap();
        assert_eq!(full.kind(), ErrorKind::WouldBlock);

        for reads in [true, false] {
            let mut command = lab.command("", &["--service", "echo"]);
            command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000");
            let server = Program::start(&lab.host, command).unwrap();
            let _ = server.err().expect(&["listening on"]);
            assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
            server.signal("HUP").unwrap();
            let _ = server.err().expect(&["settings reloaded"]);
            if reads {
                supervisor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut told = String::new();
                while told.matches("READY=1").count() < 2 {
                    let mut buffer = [0; 4096];
                    let len = supervisor.recv(&mut buffer).expect("a notification");
                    told += std::str::from_utf8(&buffer[..len]).unwrap();
                }
                assert!(told.contains("RELOADING=1"), "{told}");
            }
            server.signal("TERM").unwrap();
            let ended = server.finish();
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            assert!(ended.err.contains("stopped accepting"), "{}", ended.err);
            // Full again for the next round.
            while crowd.send_to(b"X=1", &path).is_ok() {}
        }
    });
}

#[test]
fn config_from_a_pipe_is_read_once_and_refused_at_sighup() {
    isolated(|| {
        let lab = Lab::new();
        let pipe = lab.path("pipe");
        make_pipe(&pipe);
        let mut command = clean(Command::new(env!("CARGO_BIN_EXE_tfo-server")));
        command.arg("--config").arg(&pipe);
        let server = Program::start(&lab.host, command).unwrap();
        fs::write(&pipe, "[listen]\nservice = \"echo\"\n").unwrap();
        let _ = server.err().expect(&["listening on 127.0.0.1:2222 (echo)"]);
        server.signal("HUP").unwrap();
        let error = server.err().expect(&["keeping the previous"]);
        let why = "it is not a regular file: a pipe or a device can be read only at the start";
        assert!(error.contains("--config") && error.contains(why), "{error}");
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

#[test]
fn files_replaced_by_pipes_are_refused_at_sighup() {
    isolated(|| {
        let lab = Lab::new();
        let (keys, answer) = (lab.path("keys"), lab.path("answer"));
        fs::write(&keys, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&answer, "the answer").unwrap();
        let config = format!(
            "[listen]\nservice = \"respond\"\n[respond]\nfile = \"{}\"\n\
             [keys]\nmode = \"file\"\nfile = \"{}\"\n",
            answer.display(),
            keys.display()
        );
        let server = lab.serve(&config, &[]);
        fs::remove_file(&keys).unwrap();
        make_pipe(&keys);
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["keys: ", "it is not a regular file"]);
        fs::remove_file(&answer).unwrap();
        make_pipe(&answer);
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["answer: expected a regular file", "keeping the previous"]);
        // As a secret, and as another key file.
        let secret = "[keys]\nmode = \"derived\"\nsecret = ";
        for keys_of in [secret, "[keys]\nmode = \"file\"\nfile = "] {
            let other = lab.path("other");
            let _ = fs::remove_file(&other);
            make_pipe(&other);
            lab.config(&format!("{keys_of}\"{}\"\n", other.display()));
            server.signal("HUP").unwrap();
            let _ =
                server.err().expect(&["other: it is not a regular file", "keeping the previous"]);
            fs::remove_file(&other).unwrap();
        }
        assert_eq!(ask(&mut lab.connect(), b"?"), b"the answer");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

#[test]
fn sigusr1_and_reload_with_2000_listeners_block_nothing() {
    isolated(|| {
        raise_descriptors();
        let lab = Lab::new();
        let listener = |port| format!("[[listen]]\nport = {port}\nservice = \"echo\"\n");
        let all: String = (20_000..22_000).chain([SERVER.port()]).map(listener).collect();
        let config = format!("{all}[engine]\nworkers = 2\n[output]\nlines = false\n");
        let server = lab.serve(&config, &[]);
        let _ = server.err().expect(&["keys: "]);
        server.signal("USR1").unwrap();
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["settings reloaded"]);
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        let _ = server.err().expect(&["stopped accepting"]);
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err.lines().last().unwrap_or_default());
        assert!(ended.out.contains("127.0.0.1:21999"), "all listeners: {}", ended.out.len());
        assert!(ended.out.lines().last().unwrap().starts_with("total: 1 connection"));
    });
}

#[test]
fn file_size_limit_of_output_and_log_loses_only_lines() {
    isolated(|| {
        let lab = Lab::new();
        let mut command = clean(Command::new("sh"));
        command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tfo-server")]);
        command.args(["--service", "echo", "-v", "--config"]).arg(lab.config(METRICS));
        let [out, err] = ["out", "err"].map(|name| {
            let file = OpenOptions::new().append(true).create(true).open(lab.path(name)).unwrap();
            // Nearly at the limit.
            file.set_len(4000).unwrap();
            Stdio::from(file)
        });
        let mut server = spawn(&lab, command, out, err);
        let load = Load::start(&lab.host, SERVER, 2);
        until("lines are lost", || metric(&lab, "tfo_server_lines_lost_total") > 0);
        load.more(50);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        // Each reload adds lines to the log.
        until("log lines are lost", || {
            signal(&server, "HUP");
            metric(&lab, "tfo_server_log_lines_lost_total") > 0
        });
        // Make room again.
        for name in ["out", "err"] {
            File::options().write(true).open(lab.path(name)).unwrap().set_len(0).unwrap();
        }
        let log = || fs::read_to_string(lab.path("err")).unwrap();
        until("the loss is logged", || {
            signal(&server, "HUP");
            assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
            log().contains("standard error works again; ")
        });
        signal(&server, "TERM");
        assert_eq!(ended(&mut server).code(), Some(0));
        let out = fs::read_to_string(lab.path("out")).unwrap();
        assert!(out.contains("total: ") && out.contains("lines lost"), "{out}");
    });
}
