//! A full disk behind what it prints.

use std::process::Command;

use tfo_core::lab::{Program, isolated};

use crate::harness::{Lab, SERVER, ask, clean};
use crate::load::Load;

#[test]
fn with_a_full_disk_behind_its_output_it_serves_on_and_says_so_once() {
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
        let told = ended.err.lines().filter(|line| line.contains("No space left")).count();
        assert!(told <= 2, "once, and perhaps once more at the end: {warning}\n{}", ended.err);
    });
}
