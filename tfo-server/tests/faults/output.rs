//! A full disk behind the output.

use std::fs::File;
use std::process::{Command, Stdio};

use tfo_core::lab::{Program, isolated};

use crate::load::Load;
use crate::support::{Lab, SERVER, ask, clean, until};

#[test]
fn full_disk_behind_the_output_is_logged_once() {
    isolated(|| {
        let lab = Lab::new();
        let mut command = clean(Command::new("sh"));
        command.args(["-c", "exec \"$0\" \"$@\" > /dev/full", env!("CARGO_BIN_EXE_tfo-server")]);
        command.args(["--service", "echo", "--config"]).arg(lab.config(""));
        let server = Program::start(&lab.host, command).unwrap();
        let _ = server.err().expect(&["listening on"]);
        let load = Load::start(&lab.host, SERVER, 2);
        load.more(200);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        let warning = server.err().expect(&["warn", "No space left on device"]);
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let warnings = ended.err.lines().filter(|line| line.contains("No space left")).count();
        assert!(warnings <= 2, "once, and possibly again at the end: {warning}\n{}", ended.err);
    });
}

#[test]
fn full_disk_behind_output_and_log_does_not_stop_serving() {
    isolated(|| {
        let lab = Lab::new();
        let mut command = lab.command("", &["--service", "echo"]);
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        command.stdin(Stdio::null()).stdout(full()).stderr(full());
        let mut server = lab.host.spawn(command).unwrap();
        until("the server listens", || {
            lab.host.run(|| std::net::TcpStream::connect(SERVER)).is_ok()
        });
        let load = Load::start(&lab.host, SERVER, 2);
        load.more(200);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        let pid = server.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill $0", &pid]).status().unwrap().success());
        assert_eq!(server.wait().unwrap().code(), Some(0));
    });
}

/// A reader that has stopped reading, as a pager or a log collector may.
#[test]
fn blocked_reader_does_not_prevent_serving_or_stopping() {
    isolated(|| {
        let lab = Lab::new();
        let mut command = lab.command("", &["--service", "echo"]);
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let mut server = lab.host.spawn(command).unwrap();
        until("the server listens", || {
            lab.host.run(|| std::net::TcpStream::connect(SERVER)).is_ok()
        });
        let load = Load::start(&lab.host, SERVER, 4);
        // A pipe holds 64 KiB: less than half of these lines.
        load.more(2000);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        let pid = server.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill $0", &pid]).status().unwrap().success());
        assert_eq!(server.wait().unwrap().code(), Some(0));
        let mut err = String::new();
        std::io::Read::read_to_string(&mut server.stderr.take().unwrap(), &mut err).unwrap();
        assert!(err.contains("warn: standard output accepted nothing"), "{err}");
        drop(reader);
    });
}
