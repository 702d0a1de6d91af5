//! Source addresses, and exhausted ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use tfo_core::lab::{self, isolated};

use crate::harness::Lab;
use crate::{answer, count, counters, load, serve, verdicts};

/// Limits the client's host to ten ports.
fn limit_ports(lab: &Lab) {
    let write = || std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40009");
    lab.client.run(write).unwrap();
}

fn add_address(lab: &Lab, address: &str) {
    let mut ip = Command::new("ip");
    ip.args(["-o", "route", "get", "192.0.2.2"]);
    let route = String::from_utf8(lab.client.output(ip).unwrap().stdout).unwrap();
    let device = route.split(" dev ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let mut ip = Command::new("ip");
    ip.args(["address", "add", &format!("{address}/32"), "dev", &device]);
    let output = lab.client.output(ip).unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut ip = Command::new("ip");
    ip.args(["route", "add", &format!("{address}/32"), "via", "192.0.2.1"]);
    let _ = lab.server.output(ip).unwrap();
}

#[test]
fn exhausted_ports_are_an_error_with_advice() {
    isolated(|| {
        let lab = Lab::new();
        limit_ports(&lab);
        let _listener = lab.silent_server();
        let arguments = ["--count", "20", "--concurrency", "20", "--timeout", "300ms"];
        let (seen, ended) = load(&lab, &arguments);
        assert_eq!(ended.code, Some(3), "{seen:#}");
        assert!(seen["errors"]["ports-exhausted"].as_u64().unwrap() >= 5, "{seen:#}");
        let ended = lab.probe(&[&["-q", "load"], &arguments[..]].concat());
        for piece in ["error: ports-exhausted", "no free port", "`--source ADDR,ADDR`", "`--reset`"]
        {
            assert!(ended.out.contains(piece), "{piece}: {}", ended.out);
        }
    });
}

#[test]
fn second_source_address_provides_more_ports() {
    isolated(|| {
        if !lab::require("ip") {
            return;
        }
        let lab = Lab::new();
        add_address(&lab, "192.0.2.11");
        limit_ports(&lab);
        let _listener = lab.silent_server();
        let arguments = ["--count", "20", "--concurrency", "20", "--timeout", "300ms"];
        let sources = ["--source", "192.0.2.1,192.0.2.11"];
        let (seen, _) = load(&lab, &[&arguments[..], &sources].concat());
        assert_eq!(seen["errors"]["ports-exhausted"].as_u64(), None, "{seen:#}");
        assert_eq!(seen["errors"]["timed-out"], 20, "{seen:#}");
    });
}

#[test]
fn sources_are_used_in_turn_each_with_its_cookie() {
    isolated(|| {
        if !lab::require("ip") {
            return;
        }
        let lab = Lab::new();
        add_address(&lab, "192.0.2.11");
        let peers = serve(&lab, answer);
        let sources = ["--source", "192.0.2.1", "--source", "192.0.2.11"];
        for (mode, each) in [("auto", 50), ("mixed", 50)] {
            let arguments = ["--count", "100", "--concurrency", "1", "--mode", mode];
            let (seen, ended) = load(&lab, &[&arguments[..], &sources].concat());
            assert_eq!(ended.code, Some(0), "{seen:#}");
            let mut accepted: BTreeMap<IpAddr, u32> = BTreeMap::new();
            for peer in peers.try_iter().map(|peer: SocketAddr| peer.ip()) {
                *accepted.entry(peer).or_default() += 1;
            }
            assert_eq!(accepted.into_values().collect::<Vec<_>>(), [each, each], "{mode}");
            let granted = if mode == "auto" { 2 } else { 0 };
            assert_eq!(count(&seen, "cookie-granted"), granted, "{mode}: {seen:#}");
        }
        assert_eq!(counters(&lab).active, 98 + 50, "all other SYNs had data");
    });
}

#[test]
fn evicted_cookies_are_not_reported_as_refused() {
    isolated(|| {
        if !lab::require("ip") {
            return;
        }
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let sources: Vec<String> = (11..23).map(|last| format!("192.0.2.{last}")).collect();
        for source in &sources {
            add_address(&lab, source);
        }
        let (seen, _) = load(&lab, &["--count", "600", "--source", &sources.join(",")]);
        assert!(count(&seen, "fast-open") < 588, "the cache is too small for 12: {seen:#}");
        assert_eq!(count(&seen, "fast-open"), counters(&lab).active, "{seen:#}");
        let causes: Vec<String> = verdicts(&seen).into_iter().map(|(_, cause, _)| cause).collect();
        assert!(causes.iter().all(String::is_empty), "the server grants cookies: {seen:#}");
        let text = lab.probe(&["-q", "load", "--count", "60", "--source", &sources.join(",")]).out;
        assert!(text.contains("12 source addresses evict each other's cookies"), "{text}");
    });
}
