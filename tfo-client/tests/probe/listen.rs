//! `--listen`: server and client in one process.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use tfo_core::host::{FastOpenFlags, sysctl};
use tfo_core::lab::{Finished, Host, Program, isolated, require};

use crate::harness::{Lab, clean, each, json};

const ENABLE: &str = "sudo sysctl -w net.ipv4.tcp_fastopen=3";

fn listen(lab: &Lab, arguments: &[&str]) -> Finished {
    lab.run(lab.command("", &[&["--listen"], arguments].concat()))
}

fn notes(ended: &Finished) -> Vec<&str> {
    ended.err.lines().filter(|line| line.starts_with("note: ")).collect()
}

#[test]
fn listen_without_the_bits_uses_a_private_namespace() {
    isolated(|| {
        for bits in [0, 1, 2] {
            let lab = Lab::new();
            lab.set_client_bits(bits);
            let ended = listen(&lab, &["-o", "json"]);
            assert_eq!(ended.code, Some(0), "{bits}: {} {}", ended.out, ended.err);
            let document = json(&ended.out);
            let verdicts = each(&document, "verdict");
            assert_eq!(verdicts, ["cookie-granted", "fast-open", "fast-open"], "{document}");
            assert_eq!(document["target"]["address"], "127.0.0.1:2222", "{document}");
            let notes = notes(&ended);
            assert_eq!(notes.len(), 1, "{}", ended.err);
            assert!(notes[0].contains(ENABLE), "{}", notes[0]);
            assert!(notes[0].contains("private network namespace"), "{}", notes[0]);
            let after = lab.client.run(sysctl::tcp_fastopen).unwrap();
            assert_eq!(after, FastOpenFlags::new(bits), "the host must not be changed");
        }
    });
}

#[test]
fn listen_with_the_bits_prints_no_note() {
    isolated(|| {
        let lab = Lab::new();
        let ended = listen(&lab, &[]);
        assert_eq!(ended.code, Some(0), "{} {}", ended.out, ended.err);
        assert_eq!(notes(&ended), [""; 0]);
        assert!(ended.out.contains("Fast open works: 2 of 3 connections used it"), "{}", ended.out);
    });
}

#[test]
fn listen_works_over_ipv6() {
    isolated(|| {
        for bits in [1, 3] {
            for arguments in [["-s", "::1"], ["-s", "[::1]:2345"]] {
                let lab = Lab::new();
                lab.set_client_bits(bits);
                let ended = listen(&lab, &[&arguments[..], &["-6", "-o", "json"]].concat());
                assert_eq!(ended.code, Some(0), "{} {}", ended.out, ended.err);
                assert_eq!(json(&ended.out)["summary"]["fast_open"], 2, "{}", ended.out);
            }
        }
    });
}

/// Runs `--listen` as a user that may not create namespaces. The limit is set in a new user namespace, so that it
/// affects no other process.
fn without_namespaces(script: &str) -> Option<Finished> {
    if !(require("unshare") && require("setpriv")) {
        return None;
    }
    let host = Host::new("host").unwrap();
    host.set_tcp_fastopen(FastOpenFlags::new(1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("client.toml");
    fs::write(&config, "").unwrap();
    let mut command = clean(Command::new("unshare"));
    command.args(["--user", "--map-root-user", "sh", "-c", script]);
    command.args([env!("CARGO_BIN_EXE_tfo-client"), "--listen", "--config"]).arg(config);
    let ended = Program::start(&host, command).unwrap().finish();
    let after = host.run(sysctl::tcp_fastopen).unwrap();
    assert_eq!(after, FastOpenFlags::new(1), "the host must not be changed");
    Some(ended)
}

#[test]
fn listen_without_namespaces_probes_the_host_with_a_note() {
    isolated(|| {
        let no_admin = "exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin";
        for (file, run) in [("max_net_namespaces", "exec"), ("max_user_namespaces", no_admin)] {
            let script = format!("echo 0 > /proc/sys/user/{file}; {run} \"$0\" \"$@\"");
            let Some(ended) = without_namespaces(&script) else { return };
            assert_eq!(ended.code, Some(1), "{} {}", ended.out, ended.err);
            let notes = notes(&ended);
            assert_eq!(notes.len(), 1, "{}", ended.err);
            assert!(notes[0].contains("private network namespace"), "{}", notes[0]);
            assert!(notes[0].contains(ENABLE), "{}", notes[0]);
            assert!(notes[0].contains(file), "names the setting that forbids it: {}", notes[0]);
            assert!(ended.out.contains("server-disabled"), "{}", ended.out);
            assert!(ended.out.contains(ENABLE), "{}", ended.out);
        }
    });
}

#[test]
fn listen_on_a_used_port_is_refused_with_advice() {
    isolated(|| {
        let lab = Lab::new();
        let _taken = lab.client.run(|| TcpListener::bind("127.0.0.1:2222")).unwrap();
        let ended = listen(&lab, &[]);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't listen on 127.0.0.1:2222: "), "{error}");
        assert!(error.contains("omit --listen"), "{error}");
    });
}

#[test]
fn listen_on_a_foreign_address_is_refused() {
    isolated(|| {
        let lab = Lab::new();
        let ended = listen(&lab, &["-s", "203.0.113.9"]);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.contains("--listen needs an address of this host"), "{error}");
    });
}

/// The client where no setting of IPv4 is to be seen.
fn without_settings(lab: &Lab, arguments: &[&str]) -> Finished {
    let probe = lab.command("", arguments);
    let script = "mount -t tmpfs -o ro none /proc/sys/net/ipv4 && exec \"$0\" \"$@\"";
    let mut command = clean(Command::new("unshare"));
    command.args(["-m", "sh", "-c", script]).arg(probe.get_program()).args(probe.get_args());
    lab.run(command)
}

#[test]
fn probe_reports_a_kernel_without_the_setting() {
    isolated(|| {
        if !require("unshare") || !require("mount") {
            return;
        }
        let missing = "has no net.ipv4.tcp_fastopen";
        for (bits, code) in [(3, 0), (1, 1), (2, 1)] {
            for address in ["127.0.0.1", "::1"] {
                let lab = Lab::new();
                lab.set_client_bits(bits);
                let ended = without_settings(&lab, &["--listen", "-s", address]);
                assert_eq!(ended.code, Some(code), "{bits}: {} {}", ended.out, ended.err);
                let notes = notes(&ended);
                assert_eq!(notes.len(), 1, "{}", ended.err);
                assert!(notes[0].contains(missing), "{}", notes[0]);
                assert!(!ended.err.contains("another address"), "{}", ended.err);
            }
        }
    });
}
