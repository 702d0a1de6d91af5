//! Where connections leave this host, and for how long they are made.

use std::collections::BTreeSet;
use std::fs;
use std::net::ToSocketAddrs;
use std::process::Command;

use tfo_core::lab::{self, Host, Program, SERVER_V4, isolated};

use crate::harness::{Lab, each, json};

/// Returns the name of a host's interface other than loopback.
fn interface(host: &Host) -> String {
    let table = host.run(|| fs::read_to_string("/proc/net/if_inet6").unwrap());
    let mut names = table.lines().filter_map(|line| line.split_whitespace().last());
    names.rfind(|name| *name != "lo").unwrap().to_owned()
}

#[test]
fn source_and_interface_choose_where_connections_leave() {
    isolated(|| {
        if !lab::require("ip") {
            return;
        }
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        let interface = interface(&lab.client);
        let mut ip = Command::new("ip");
        ip.args(["address", "add", "192.0.2.11/24", "dev", &interface]);
        assert!(lab.client.output(ip).unwrap().status.success());

        for (arguments, local) in [
            (vec!["--source", "192.0.2.11"], "192.0.2.11:"),
            (vec!["--source", "192.0.2.11", "--interface", &interface], "192.0.2.11:"),
            (vec!["--interface", &interface], "192.0.2.1:"),
        ] {
            let (document, ended) = lab.document(&arguments);
            assert_eq!(ended.code, Some(0), "{arguments:?}: {document} {}", ended.err);
            for evidence in each(&document, "evidence") {
                let found = evidence["client"]["local"].as_str().unwrap();
                assert!(found.starts_with(local), "{arguments:?}: {evidence}");
                let seen = evidence["server"]["source"].as_str().unwrap();
                assert!(seen.starts_with(local), "{arguments:?}: {evidence}");
            }
            // The cache is keyed by the source: the cookie is read for the right one.
            let last = &each(&document, "evidence")[2]["client"];
            assert!(
                last["cookie_before"]["hex"].is_string() || last["cookie_before"].is_string(),
                "{last}"
            );
        }
        let (document, ended) = lab.document(&["--interface", "lo", "--connect-timeout", "200ms"]);
        assert_eq!(ended.code, Some(3), "{document}");
        for (arguments, message) in [
            (["--source", "192.0.2.99"], "--source 192.0.2.99: expected an address of this host"),
            (["--interface", "no-such"], "--interface no-such: expected a network interface"),
        ] {
            let ended = lab.probe(&arguments);
            assert_eq!(ended.code, Some(2), "{}", ended.err);
            assert!(ended.err.contains(message), "{}", ended.err);
        }
    });
}

#[test]
fn scope_of_a_link_local_address_is_used_and_kept_in_advice() {
    isolated(|| {
        if !lab::require("ip") {
            return;
        }
        let lab = Lab::new();
        let mut ip = Command::new("ip");
        ip.args(["address", "add", "fe80::1/64", "dev", "lo", "nodad"]);
        assert!(lab.client.output(ip).unwrap().status.success());
        let (document, ended) = lab.document(&["-l", "-s", "fe80::1%lo"]);
        assert_eq!(ended.code, Some(0), "{document} {}", ended.err);
        let (document, ended) = lab.document(&["-s", "[fe80::1%lo]:9"]);
        assert_eq!(ended.code, Some(3), "{document}");
        let advice = document["summary"]["advice"].as_str().unwrap();
        assert!(advice.contains("`tfo-client -s fe80::1%1 -p 9"), "{advice}");
        let ended = lab.probe(&["-s", "fe80::1"]);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains("such as fe80::1%eth0"), "{}", ended.err);
    });
}

#[test]
fn all_addresses_of_a_name_are_in_one_report() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&["--all-addresses"]);
        assert_eq!(ended.code, Some(0), "{document}");
        assert_eq!(document["addresses"][0]["address"], format!("{SERVER_V4}:2222"));
        assert_eq!(document["addresses"][0]["summary"], document["summary"]);
        assert_eq!(document["connections"].as_array().unwrap().len(), 3);

        let (document, ended) = lab.document(&["-s", "localhost", "-n", "1", "--all-addresses"]);
        assert_eq!(ended.code, Some(3), "nobody listens here: {document}");
        let found = document["addresses"].as_array().unwrap().iter();
        let found: BTreeSet<_> =
            found.map(|entry| entry["address"].as_str().unwrap().to_owned()).collect();
        let wanted =
            ("localhost", 2222).to_socket_addrs().unwrap().map(|address| address.to_string());
        assert_eq!(found, wanted.collect());
        let text = lab.probe(&["-s", "localhost", "-n", "1", "--all-addresses"]).out;
        let end = text.split("All addresses:\n").nth(1).unwrap();
        assert_eq!(end.lines().count(), found.len(), "{text}");
        assert!(end.contains("127.0.0.1:2222") && end.contains("failed (refused)"), "{text}");
    });
}

#[test]
fn probe_without_end_prints_a_summary_at_ctrl_c() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        let config = format!("[server]\naddress = \"{SERVER_V4}\"\n");
        let run = |arguments: &[&str]| {
            let arguments = [&["--forever", "--interval", "10ms"], arguments].concat();
            Program::start(&lab.client, lab.command(&config, &arguments)).unwrap()
        };
        let program = run(&[]);
        let _ = program.out().expect(&["5", "fast-open"]);
        program.signal("INT").unwrap();
        let ended = program.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let head = ended.out.lines().next().unwrap();
        assert!(head.contains("connections until Ctrl-C"), "{head}");
        let counts = ended.out.lines().find(|line| line.contains(" connections: ")).unwrap();
        assert!(counts.contains("1 cookie-granted") && counts.contains(" fast-open"), "{counts}");

        let program = run(&["-o", "json"]);
        std::thread::sleep(std::time::Duration::from_millis(300));
        program.signal("INT").unwrap();
        let ended = program.finish();
        let document = json(&ended.out);
        assert_eq!(ended.code, Some(0), "{document}");
        assert_eq!(document["summary"]["verdict"], "fast-open", "{document}");
    });
}
