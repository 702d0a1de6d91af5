//! `--trace` and `--pcap`, on the interface of a real connection.

use std::{fs, process::Command};

use tfo_core::lab::{isolated, require};

use crate::harness::{Lab, clean};

#[test]
fn packets_of_each_connection_are_drawn_and_written() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        let file = lab.path("probe.pcapng");
        let ended = lab.probe(&["--trace", "--pcap", file.to_str().unwrap(), "-n", "2"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for piece in
            ["SYN, TFO request", "SYN-ACK, cookie 8 B", "SYN, cookie 8 B, 64 B of data in the SYN"]
        {
            assert!(ended.out.contains(piece), "{piece} is missing:\n{}", ended.out);
        }
        let pcap = fs::read(file).unwrap();
        assert!(pcap.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "no section header of pcapng");
    });
}

#[test]
fn trace_without_the_capability_names_it() {
    if !require("setpriv") {
        return;
    }
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        let probe = lab.command("[server]\naddress = \"192.0.2.2\"\n", &["--trace"]);
        let mut command = clean(Command::new("setpriv"));
        command.args(["--inh-caps=-net_raw", "--bounding-set=-net_raw"]).arg(probe.get_program());
        let ended = lab.run({
            command.args(probe.get_args());
            command
        });
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains("CAP_NET_RAW"), "{}", ended.err);
        assert!(ended.err.contains("setcap cap_net_raw=+ep"), "{}", ended.err);
    });
}
