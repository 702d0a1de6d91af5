//! Errors and warnings at the start.

use std::net::TcpListener;
use std::process::Command;

use tfo_core::lab::{Program, isolated, require};

use crate::support::{Lab, ONE_WORKER, SERVER, ask, clean};

#[test]
fn address_in_use_is_reported_with_how_to_find_its_owner() {
    isolated(|| {
        let lab = Lab::new();
        let _taken = lab.host.run(|| TcpListener::bind(SERVER)).unwrap();
        let ended = lab.start("", &[]).finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't listen on 127.0.0.1:2222: "), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
        assert!(error.contains("listens there; stop it") && error.contains("--port"), "{error}");
        assert_eq!(ended.out, "", "standard output must be empty");
    });
}

#[test]
fn address_of_another_host_is_reported() {
    isolated(|| {
        let lab = Lab::new();
        for address in ["192.0.2.77", "2001:db8::77"] {
            let ended = lab.start("", &["-a", address]).finish();
            assert_eq!(ended.code, Some(1), "{}", ended.err);
            let error = ended.err.lines().last().unwrap();
            assert!(error.contains("not an address of this host"), "{error}");
            assert!(error.contains(address) && error.contains("ip address"), "{error}");
        }
    });
}

#[test]
fn privileged_port_is_reported_with_how_to_grant_it() {
    isolated(|| {
        if !require("setpriv") {
            return;
        }
        let lab = Lab::new();
        // Without the capability in the bounding set, even root does not get it.
        let mut command = clean(Command::new("setpriv"));
        command.args(["--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"]);
        command.args([env!("CARGO_BIN_EXE_tfo-server"), "-p", "80"]);
        command.arg("--config").arg(lab.config(""));
        let ended = Program::start(&lab.host, command).unwrap().finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't listen on 127.0.0.1:80: "), "{error}");
        assert!(error.contains("port 80 needs CAP_NET_BIND_SERVICE"), "{error}");
        assert!(error.contains("setcap cap_net_bind_service=+ep"), "{error}");
        assert!(error.contains("or choose a port from 1024"), "{error}");
    });
}

#[test]
fn missing_server_bit_causes_a_warning_with_its_fix() {
    isolated(|| {
        let lab = Lab::with_tcp_fastopen(1);
        let server = lab.serve("", &["--service", "echo"]);
        let warning = server.err().expect(&["warn: "]);
        assert!(warning.contains("sudo sysctl -w net.ipv4.tcp_fastopen=3"), "{warning}");
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        let line = server.out().first(1).remove(0);
        assert!(line.contains("not-attempted"), "{line}");
    });
}

#[test]
fn start_logs_address_service_queue_and_host_setting() {
    isolated(|| {
        let lab = Lab::with_tcp_fastopen(0x403);
        let config =
            "[listen]\naddress = \"::1\"\nport = 8443\nfastopen-queue = 16\nbacklog = 99999\n";
        let bad = lab.start(config, &[]).finish();
        assert_eq!(bad.code, Some(2), "a backlog out of range: {}", bad.err);
        let config = config.replace("99999", "100");
        let server = lab.serve(&config, &["--service", "discard"]);
        let line = server.err().expect(&["listening on"]);
        for part in ["[::1]:8443", "(discard)", "queue 16", "backlog 100", "0x403"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let config = server.err().expect(&["configuration file: "]);
        assert!(config.contains("server.toml"), "{config}");
        assert_eq!(server.err().count("warn"), 0, "{}", server.err());
    });
}

#[test]
fn queue_capped_by_the_kernel_causes_a_warning() {
    isolated(|| {
        let lab = Lab::new();
        lab.host.run(|| std::fs::write("/proc/sys/net/core/somaxconn", "64")).unwrap();
        let server = lab.serve(ONE_WORKER, &[]);
        let line = server.err().expect(&["listening on"]);
        assert!(line.contains("queue 64, backlog 64"), "the effective values: {line}");
        let warning = server.err().expect(&["warn: ", "fastopen-queue"]);
        assert!(warning.contains("from 256 to 64"), "{warning}");
        assert!(warning.contains("sudo sysctl -w net.core.somaxconn="), "{warning}");
    });
}
