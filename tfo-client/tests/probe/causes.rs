//! The causes of fallbacks, and whether following the advice fixes them.

use std::env;
use std::process::Command;

use serde_json::Value;
use tfo_core::lab::{Host, isolated, require};

use crate::harness::{Lab, each, json};

fn summary<'a>(document: &'a Value, field: &str) -> &'a str {
    document["summary"][field].as_str().unwrap_or_default()
}

#[test]
fn server_bit_off_is_diagnosed_and_advice_fixes_it() {
    isolated(|| {
        let lab = Lab::new();
        lab.set_server_bits(1);
        let Some(server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(summary(&document, "verdict"), "fallback", "{document}");
        assert_eq!(summary(&document, "cause"), "server-disabled", "{document}");
        assert_eq!(summary(&document, "blame"), "peer", "{document}");
        let advice = summary(&document, "advice");
        assert!(advice.contains("sudo sysctl -w net.ipv4.tcp_fastopen=3"), "{advice}");
        assert_eq!(each(&document, "syn_data_acked"), [false; 3], "{document}");
        let _ = server.out().expect(&["server-disabled"]);

        lab.set_server_bits(3);
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(0), "after following the advice: {document}");
    });
}

#[test]
fn client_bit_off_is_diagnosed_and_advice_fixes_it() {
    isolated(|| {
        let lab = Lab::new();
        lab.set_client_bits(2);
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(summary(&document, "verdict"), "not-attempted", "{document}");
        assert_eq!(summary(&document, "cause"), "client-disabled", "{document}");
        assert_eq!(summary(&document, "blame"), "this-host", "{document}");
        let advice = summary(&document, "advice");
        assert!(advice.contains("sudo sysctl -w net.ipv4.tcp_fastopen=3"), "{advice}");
        lab.set_client_bits(3);
        assert_eq!(lab.document(&[]).1.code, Some(0), "after following the advice");
    });
}

#[test]
fn replaced_key_is_a_mismatch_once() {
    isolated(|| {
        let lab = Lab::new();
        lab.set_on_server("net/ipv4/tcp_fastopen_key", "00000001-00000002-00000003-00000004");
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(0), "{document}");

        lab.set_on_server("net/ipv4/tcp_fastopen_key", "0000000a-0000000b-0000000c-0000000d");
        let (document, ended) = lab.document(&["-n", "2"]);
        assert_eq!(ended.code, Some(0), "{document}");
        assert_eq!(each(&document, "verdict"), ["fallback", "fast-open"], "{document}");
        assert_eq!(document["connections"][0]["cause"], "key-mismatch", "{document}");
        let evidence = &document["connections"][0]["evidence"];
        assert_eq!(evidence["server"]["counters"]["passive_fail"], 1, "{evidence}");
        assert_ne!(
            evidence["client"]["cookie_before"], evidence["client"]["cookie_after"],
            "the server sent a new cookie: {evidence}"
        );
    });
}

#[test]
fn listener_without_a_queue_is_diagnosed() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[listen]\naddress = \"0.0.0.0\"\nfastopen-queue = 0\n";
        let Some(server) = lab.serve(config, &[]) else { return };
        let _ = server.err().expect(&["warn: ", "fastopen-queue is 0"]);
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(summary(&document, "cause"), "server-disabled", "{document}");
        let advice = summary(&document, "advice");
        assert!(advice.contains("fastopen-queue"), "{advice}");
    });
}

#[test]
fn syncookies_are_diagnosed() {
    isolated(|| {
        let lab = Lab::new();
        lab.set_on_server("net/ipv4/tcp_syncookies", "2");
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(1), "{document}");
        // The server keeps nothing of such a SYN that would exclude a proxy.
        let candidates = &document["summary"]["candidates"];
        assert_eq!(*candidates, serde_json::json!(["proxied", "server-syncookies"]), "{document}");
        let advice = summary(&document, "advice");
        assert!(advice.contains("sudo sysctl -w net.ipv4.tcp_syncookies=1"), "{advice}");
    });
}

#[test]
fn server_without_cookies_is_diagnosed() {
    isolated(|| {
        let lab = Lab::new();
        lab.set_server_bits(0x203);
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(summary(&document, "cause"), "server-without-cookies", "{document}");
    });
}

#[test]
fn each_mode_sends_the_first_bytes_its_way() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        for mode in ["auto", "sendto", "connect"] {
            let (document, ended) = lab.document(&["--mode", mode]);
            assert_eq!(ended.code, Some(0), "{mode}: {document}");
            let last = &document["connections"][2];
            assert_eq!(last["evidence"]["client"]["attempt"]["in-syn"], 64, "{mode}: {last}");
            assert_eq!(last["syn_data_acked"], true, "{mode}: {last}");
        }
        let (document, ended) = lab.document(&["--mode", "off"]);
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(summary(&document, "verdict"), "not-attempted", "{document}");
        assert_eq!(summary(&document, "cause"), "disabled-by-config", "{document}");
        assert_eq!(each(&document, "syn_bytes"), [0, 0, 0], "a cached cookie is not used");
        let syn = &document["connections"][0]["evidence"]["server"]["syn"]["saved"];
        assert!(syn["fast_open"].is_null(), "{syn}");
    });
}

/// Runs a command on a host.
fn on(host: &Host, command: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("PATH", env::var("PATH").unwrap() + ":/usr/sbin:/sbin");
    let output = host.output(shell).unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The kernel looks a cookie up by the connection's own source address, which a rule may choose for TCP alone.
#[test]
fn cookie_is_that_of_the_connections_own_source_address() {
    isolated(|| {
        if !require("ip") {
            return;
        }
        for (target, source, network, flag) in [
            ("192.0.2.2", "192.0.2.3", "192.0.2.0/24", "-4"),
            ("2001:db8::2", "2001:db8::3", "2001:db8::/64", "-6"),
        ] {
            let lab = Lab::new();
            let Some(server) = lab.serve_all(&["-o", "json"]) else { return };
            for command in [
                format!("ip {flag} address add {source} dev eth0 $([ {flag} = -4 ] || echo nodad)"),
                format!("ip {flag} route add {network} dev eth0 src {source} table 100"),
                format!("ip {flag} rule add ipproto tcp lookup 100"),
            ] {
                on(&lab.client, &command);
            }
            let (document, ended) = lab.document(&["-s", target]);
            assert_eq!(ended.code, Some(0), "{document}");
            let verdicts = each(&document, "verdict");
            assert_eq!(verdicts, ["cookie-granted", "fast-open", "fast-open"], "{document}");
            for connection in document["connections"].as_array().unwrap() {
                let client = &connection["evidence"]["client"];
                assert!(client["local"].as_str().unwrap().contains(source), "{client}");
                let text = format!("{} {}", connection["finding"], connection["advice"]);
                assert!(!text.contains("without a cookie") && !text.contains("forged"), "{text}");
            }
            let last = &document["connections"][2]["evidence"];
            let cookie = &last["client"]["cookie_before"]["hex"];
            assert_eq!(*cookie, last["server"]["syn"]["saved"]["fast_open"]["cookie"], "{last}");
            let line = json(&server.out().first(3)[2]);
            assert!(line["peer"].as_str().unwrap().contains(source), "{line}");
        }
    });
}
