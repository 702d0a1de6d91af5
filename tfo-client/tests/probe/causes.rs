//! The causes of fallbacks, and whether following the advice fixes them.

use serde_json::Value;
use tfo_core::lab::isolated;

use crate::harness::{Lab, each};

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
