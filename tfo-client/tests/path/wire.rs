//! What is on the wire: data in a SYN ends in front of everybody who answers TCP, unless it is allowed to arrive.

use std::process::Command;

use serde_json::Value;
use tfo_core::lab::{isolated, require};

use super::harness;

/// The packets that arrived at a server while `path` ran there, in words.
fn arrived(hops: &str, arguments: &str) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_tfo-client");
    let path = format!("{program} -qq path 192.0.2.2 {arguments} >/dev/null");
    let mut command = harness::clean(Command::new(program));
    command.args(["-q", "lab", "--rtt", "10ms", "-o", "json"]).args(hops.split(' '));
    let output = command.args(["--", "sh", "-c", &path]).output().unwrap();
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let connections = document["connections"].as_array().unwrap();
    let packets = connections.iter().flat_map(|it| it["packets"].as_array().unwrap());
    packets
        .filter(|packet| packet["direction"] == "to-server" && !packet["arrived_us"].is_null())
        .map(|packet| packet["what"].as_str().unwrap().to_owned())
        .collect()
}

fn has_data(what: &str) -> bool {
    what.contains("of data")
}

#[test]
fn no_data_reaches_a_target_that_did_not_ask_for_it() {
    isolated(|| {
        for hops in [
            "--hops 4",
            "--hops 4 --hop 2:proxy",
            "--hops 4 --hop 1:silent --hop 3:branches=2",
            "--hops 0",
        ] {
            for arguments in ["", "--all"] {
                let arrived = arrived(&format!("{hops} --server-command=sleep\u{a0}60"), arguments);
                assert!(!arrived.is_empty(), "{hops}: regular SYNs arrive");
                let data: Vec<_> = arrived.iter().filter(|what| has_data(what)).collect();
                assert!(data.is_empty(), "{hops} {arguments}: {data:?}");
            }
        }
    });
}

#[test]
fn no_capability_is_needed() {
    if !require("setpriv") {
        return;
    }
    isolated(|| {
        let program = env!("CARGO_BIN_EXE_tfo-client");
        for target in ["192.0.2.2", "[2001:db8::2]:2222"] {
            let mut command = harness::clean(Command::new(program));
            command.args([
                "-q",
                "lab",
                "--rtt",
                "10ms",
                "--hops",
                "4",
                "--hop",
                "2:strip-syn-data",
            ]);
            command.args(["--", "setpriv", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c"]);
            let path =
                format!("grep CapEff: /proc/self/status; {program} -q path {target} --to-target");
            let output = command.arg(&path).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap().replace('\n', " ");
            assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
            assert!(text.contains("SYNs with data lose their data"), "{text}");
            assert!(text.contains("Between hop 2 ("), "{text}");
        }
    });
}

#[test]
fn data_reaches_the_target_where_it_may() {
    isolated(|| {
        let arrived = arrived("--hops 4", "--to-target");
        assert!(arrived.iter().any(|what| has_data(what)), "{arrived:?}");
    });
}
