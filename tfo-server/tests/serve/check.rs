//! `tfo-server check`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use tfo_core::host::Counters;
use tfo_core::lab::{Program, isolated, require};
use tfo_core::socket::{Connector, FastOpenListener, Method};

use crate::support::{Lab, SERVER, ask, json, until};
use crate::upstream::Silent;

/// Returns all settings that a check could change, and the listening sockets.
fn settings() -> Vec<String> {
    let folder = "/proc/sys/net/ipv4";
    let names = ["tcp_fastopen", "tcp_fastopen_key", "tcp_syncookies", "tcp_max_syn_backlog"];
    let mut found: Vec<String> = names
        .iter()
        .map(|name| fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default())
        .collect();
    found.push(fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap());
    found.push(fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    found
}

#[test]
fn ready_host_exits_0_and_nothing_changes() {
    isolated(|| {
        let lab = Lab::new();
        let before = lab.host.run(settings);
        let text = lab.start("", &["check"]).finish();
        assert_eq!(text.code, Some(0), "{} {}", text.out, text.err);
        assert!(text.out.contains("net.ipv4.tcp_fastopen 0x3 (client, server)"), "{}", text.out);
        assert!(text.out.contains("\nstopping loses no connection (IP_MINTTL)\n"), "{}", text.out);
        assert!(text.out.ends_with("ready: clients can use fast open\n"), "{}", text.out);
        let document = lab.start("", &["check", "-o", "json"]).finish();
        assert_eq!(document.code, Some(0));
        let found = json(&document.out);
        assert_eq!(found["schema"], 1, "{found}");
        assert_eq!(found["ready"], true, "{found}");
        assert_eq!(found["tcp_fastopen"], 3, "{found}");
        assert_eq!(found["stop_without_loss"], true, "{found}");
        assert_eq!(found["findings"], json("[]"), "{found}");
        assert_eq!(lab.host.run(settings), before, "check must change nothing");
    });
}

#[test]
fn problem_exits_1_with_its_fix_and_nothing_changes() {
    isolated(|| {
        let lab = Lab::with_tcp_fastopen(1);
        let before = lab.host.run(settings);
        let text = lab.start("", &["check"]).finish();
        assert_eq!(text.code, Some(1), "{} {}", text.out, text.err);
        let problem = text.out.lines().find(|line| line.starts_with("problem: ")).unwrap();
        // The command depends on whether this is a host, a container or a pod.
        let fixes = ["tcp_fastopen=3", "value: \"3\""];
        assert!(fixes.iter().any(|fix| problem.contains(fix)), "{problem}");
        assert!(text.out.ends_with("not ready: 1 problem\n"), "{}", text.out);
        let document = lab.start("", &["check", "-o", "json"]).finish();
        assert_eq!(document.code, Some(1));
        let found = json(&document.out);
        assert_eq!(found["ready"], false, "{found}");
        assert_eq!(found["findings"][0]["problem"], true, "{found}");
        assert!(found["findings"][0]["finding"].get("server-bit-off").is_some(), "{found}");
        assert_eq!(lab.host.run(settings), before, "check must change nothing");
    });
}

#[test]
fn fix_in_a_pod_names_its_spec_and_host_network() {
    isolated(|| {
        let lab = Lab::with_tcp_fastopen(1);
        let mut command = lab.command("", &["check"]);
        command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
        let text = Program::start(&lab.host, command).unwrap().finish();
        for step in [
            "in the pod's spec: `securityContext: {sysctls: [{name: net.ipv4.tcp_fastopen, value: \"3\"}]}`",
            "with hostNetwork the network is the node's, and the pod's sysctls are refused: on the node, \
             `sudo sysctl -w net.ipv4.tcp_fastopen=3`",
        ] {
            assert!(text.out.contains(step), "{step}: {}", text.out);
        }
    });
}

#[test]
fn every_problem_is_reported() {
    isolated(|| {
        let lab = Lab::with_tcp_fastopen(1);
        lab.host.run(|| fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2")).unwrap();
        let config = "[listen]\naddress = \"192.0.2.77\"\nfastopen-queue = 0\n";
        let text = lab.start(config, &["check"]).finish();
        assert_eq!(text.code, Some(1), "{} {}", text.out, text.err);
        for part in ["192.0.2.77", "0x2", "fastopen-queue is 0", "tcp_syncookies is 2"] {
            assert!(text.out.contains(part), "{part}: {}", text.out);
        }
        assert!(text.out.ends_with("not ready: 4 problems\n"), "{}", text.out);
    });
}

#[test]
fn host_findings_are_reported_once_for_all_listeners() {
    isolated(|| {
        let lab = Lab::with_tcp_fastopen(1);
        let _taken = lab.host.run(|| TcpListener::bind(SERVER)).unwrap();
        let config = "[engine]\nworkers = 2\n[[listen]]\n[[listen]]\nport = 2223\nservice = \"echo\"\n\
                      fastopen-queue = 7\n";
        let text = lab.start(config, &["check"]).finish();
        for line in [
            "listen on 127.0.0.1:2222, service mirror, fast open queue 256, backlog 1024",
            "listen on 127.0.0.1:2223, service echo, fast open queue 8, backlog 1024",
            "2 workers, which share the queues",
        ] {
            assert!(text.out.lines().any(|found| found == line), "{line}: {}", text.out);
        }
        assert_eq!(text.out.matches("problem: ").count(), 1, "{}", text.out);
        assert!(text.out.contains("something listens on 127.0.0.1:2222 already"), "{}", text.out);
        assert!(text.out.ends_with("not ready: 1 problem\n"), "{}", text.out);
        let found = json(&lab.start(config, &["check", "-o", "json"]).finish().out);
        assert_eq!(found["listeners"][1]["listen"], "127.0.0.1:2223", "{found}");
        assert_eq!(found["listeners"][1]["fastopen_queue"], 8, "{found}");
    });
}

#[test]
fn unreadable_file_of_a_service_exits_2() {
    isolated(|| {
        let lab = Lab::new();
        let config = "listen.service = \"respond\"\nrespond.file = \"/nowhere\"\n";
        for arguments in [&["check"][..], &[]] {
            let ended = lab.start(config, arguments).finish();
            assert_eq!(ended.code, Some(2), "{} {}", ended.out, ended.err);
            assert!(
                ended.err.contains("respond.file: can't read /nowhere: No such file"),
                "{}",
                ended.err
            );
        }
    });
}

#[test]
fn address_in_use_is_reported() {
    isolated(|| {
        let lab = Lab::new();
        let _taken = lab.host.run(|| TcpListener::bind(SERVER)).unwrap();
        let text = lab.start("", &["check"]).finish();
        assert!(text.out.contains("something listens on 127.0.0.1:2222 already"), "{}", text.out);
    });
}

/// Returns a configuration with a listener for each of these lists of upstreams.
fn forward(listeners: &[&[&str]]) -> String {
    let table = |(port, upstreams): (u16, &&[&str])| {
        format!(
            "[[listen]]\nport = {port}\nservice = \"forward\"\n[listen.forward]\n\
             upstreams = {upstreams:?}\n"
        )
    };
    (2222..).zip(listeners).map(table).collect()
}

#[test]
fn unreachable_upstream_is_a_note() {
    isolated(|| {
        let lab = Lab::new();
        let there = lab.host.run(|| TcpListener::bind("127.0.0.1:8001")).unwrap();
        let config = forward(&[&["127.0.0.1:8001", "127.0.0.1:8002"], &["127.0.0.1:8001"]]);
        let before = lab.host.run(settings);
        let text = lab.start(&config, &["check"]).finish();
        assert_eq!(text.code, Some(0), "{} {}", text.out, text.err);
        for line in [
            "upstream 127.0.0.1:8001 of 127.0.0.1:2222 answers",
            "upstream 127.0.0.1:8001 of 127.0.0.1:2223 answers",
            "note: upstream 127.0.0.1:8002 of 127.0.0.1:2222 does not answer: Connection refused (os error 111)",
        ] {
            assert!(text.out.lines().any(|found| found == line), "{line}: {}", text.out);
        }
        assert!(text.out.ends_with("ready: clients can use fast open\n"), "{}", text.out);
        there.set_nonblocking(true).unwrap();
        assert!(there.accept().is_ok(), "the upstream gets a connection");
        assert!(there.accept().is_err(), "one connection for all listeners");

        let document = lab.start(&config, &["check", "-o", "json"]).finish();
        let found = json(&document.out);
        assert_eq!(found["ready"], true, "{found}");
        let upstreams = &found["listeners"][0]["upstreams"];
        assert_eq!(upstreams[0], json(r#"{"upstream":"127.0.0.1:8001","error":null}"#), "{found}");
        assert_eq!(upstreams[1]["error"], "Connection refused (os error 111)", "{found}");
        let finding = &found["findings"][0];
        assert_eq!(finding["problem"], false, "{found}");
        let silent = &finding["finding"]["upstream-silent"];
        assert_eq!(silent["listener"], "127.0.0.1:2222", "{found}");
        assert_eq!(silent["upstream"], "127.0.0.1:8002", "{found}");
        // Except the last, the table of sockets: the closed connection to the upstream may be in it.
        assert_eq!(lab.host.run(settings)[..5], before[..5], "check must change nothing");
    });
}

#[test]
fn listener_without_reachable_upstream_is_a_problem() {
    isolated(|| {
        let lab = Lab::new();
        let there = lab.host.run(|| TcpListener::bind("127.0.0.1:8001")).unwrap();
        let config = forward(&[&["127.0.0.1:8001"], &["127.0.0.1:8002", "127.0.0.1:8003"]]);
        let text = lab.start(&config, &["check"]).finish();
        assert_eq!(text.code, Some(1), "{} {}", text.out, text.err);
        assert_eq!(text.out.matches("note: upstream ").count(), 2, "{}", text.out);
        let problem = text.out.lines().find(|line| line.starts_with("problem: ")).unwrap();
        assert!(problem.contains("no upstream of 127.0.0.1:2223 answers"), "{problem}");
        assert!(text.out.ends_with("not ready: 1 problem\n"), "{}", text.out);
        let document = lab.start(&config, &["check", "-o", "json"]).finish();
        assert_eq!(document.code, Some(1));
        assert_eq!(json(&document.out)["ready"], false, "{}", document.out);
        drop(there);
    });
}

#[test]
fn silent_upstreams_are_checked_concurrently() {
    isolated(|| {
        let lab = Lab::new();
        let silent = ["127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"];
        let _silent = silent.map(|address| Silent::on(&lab.host, address));
        let start = Instant::now();
        let text = lab.start(&forward(&[&silent]), &["check"]).finish();
        let took = start.elapsed();
        assert_eq!(text.code, Some(1), "{} {}", text.out, text.err);
        assert_eq!(text.out.matches("no answer within 2s").count(), 3, "{}", text.out);
        assert!(took >= Duration::from_secs(2), "{took:?}");
        assert!(took < Duration::from_secs(6), "not one after the other: {took:?}");
    });
}

#[test]
fn invalid_configuration_exits_2() {
    isolated(|| {
        let lab = Lab::new();
        for format in ["text", "json"] {
            let ended = lab.start("[listen]\nport = 0\n", &["check", "-o", format]).finish();
            assert_eq!(ended.code, Some(2), "{} {}", ended.out, ended.err);
            assert!(ended.err.contains("server.toml:2:8: "), "{}", ended.err);
            assert_eq!(ended.out, "");
        }
    });
}

#[test]
fn kernel_without_the_setting_is_reported_with_consequences() {
    isolated(|| {
        if !require("unshare") || !require("mount") {
            return;
        }
        let lab = Lab::new();
        let script = "mount -t tmpfs -o ro none /proc/sys/net/ipv4 && exec \"$0\" \"$@\"";
        let hidden = |arguments: &[&str]| {
            let program = lab.command("", arguments);
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", script]);
            command.arg(program.get_program()).args(program.get_args());
            Program::start(&lab.host, command).unwrap()
        };
        let text = hidden(&["check"]).finish();
        assert_eq!(text.code, Some(1), "{} {}", text.out, text.err);
        assert!(text.out.contains("\nno net.ipv4.tcp_fastopen\n"), "{}", text.out);
        assert!(text.out.contains("clients get regular connections"), "{}", text.out);
        let document = json(&hidden(&["check", "-o", "json"]).finish().out);
        assert_eq!(document["tcp_fastopen"], json("null"), "{document}");
        let found = &document["findings"][0]["finding"];
        assert_eq!(found["server-setting-missing"], "yes", "{document}");
        // It serves, by fast open too where the kernel allows it.
        let server = hidden(&["--service", "echo"]);
        let _ = server.err().expect(&["listening on", "no net.ipv4.tcp_fastopen"]);
        let _ = server.err().expect(&["warn: ", "has no net.ipv4.tcp_fastopen"]);
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
    });
}

#[test]
fn a_listener_there_with_a_full_accept_queue_is_named() {
    isolated(|| {
        let lab = Lab::new();
        let other = SocketAddr::new(SERVER.ip(), 8080);
        let listeners = lab.host.run(move || {
            [SERVER, other]
                .map(|address| FastOpenListener::builder(address).backlog(1).listen().unwrap())
        });
        let fill = |address: SocketAddr| {
            let connector = Connector::default().method(Method::Off);
            let connect = move || connector.connect_nonblocking(address, b"hello").unwrap();
            (0..4).map(|_| lab.host.run(connect.clone())).collect::<Vec<_>>()
        };
        let elsewhere = fill(other);
        until("it is full", || lab.host.run(|| Counters::read().unwrap().accept_overflows > 0));
        let text = lab.start("", &["check"]).finish();
        assert!(!text.out.contains("accept queue of"), "not this listener's: {}", text.out);
        let here = fill(SERVER);
        until("it is full", || {
            lab.start("", &["check"]).finish().out.contains("the accept queue of 127.0.0.1:2222 (")
        });
        let found = json(&lab.start("", &["check", "-o", "json"]).finish().out);
        let found = found["findings"].to_string();
        assert!(found.contains("\"accept-queue-full\""), "{found}");
        assert!(found.contains("accept-queue-overflowed"), "{found}");
        assert!(found.contains(&format!("\"pid\":{}", std::process::id())), "{found}");
        drop((elsewhere, here, listeners));
    });
}

#[test]
fn advice_for_any_value_is_that_of_both_halves() {
    isolated(|| {
        let lab = Lab::new();
        for (bits, advised) in [("0", 3), ("1", 3), ("519", 3), ("-1", 3), ("1025", 1027)] {
            lab.host.run(move || fs::write("/proc/sys/net/ipv4/tcp_fastopen", bits)).unwrap();
            let text = lab.start("", &["check"]).finish();
            assert_eq!(text.code, Some(1), "{bits}: {}", text.out);
            let fixes = [format!("tcp_fastopen={advised}`"), format!("value: \"{advised}\"")];
            assert!(fixes.iter().any(|fix| text.out.contains(fix)), "{bits}: {}", text.out);
        }
    });
}
