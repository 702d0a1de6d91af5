//! Causes that are produced with a packet filter.

use std::process::Command;

use tfo_core::lab::{CLIENT_V4, Host, Program, SERVER_V4, isolated, require};
use tfo_core::probe::mirror;
use tfo_core::socket::Connector;

use crate::harness::{Lab, clean, each};

/// Loads rules on a host. Skips the test and returns `false` if nftables is missing.
fn filter(host: &Host, rules: &str) -> bool {
    if !require("nft") {
        return false;
    }
    let path = if std::path::Path::new("/usr/sbin/nft").exists() { "/usr/sbin/nft" } else { "nft" };
    let mut nft = clean(Command::new(path));
    nft.arg(rules);
    let ended = Program::start(host, nft).unwrap().finish();
    assert_eq!(ended.code, Some(0), "{rules}: {}", ended.err);
    true
}

#[test]
fn full_queue_is_diagnosed() {
    isolated(|| {
        let lab = Lab::new();
        let config = "engine.workers = 1\n[listen]\naddress = \"0.0.0.0\"\nfastopen-queue = 1\n";
        let Some(_server) = lab.serve(config, &[]) else { return };
        assert_eq!(lab.document(&[]).1.code, Some(0));
        // A connection whose handshake never completes for the server occupies the only place in the queue.
        if !filter(
            &lab.server,
            "add table ip t; add chain ip t in { type filter hook input priority 0; }; \
             add rule ip t in tcp sport 50001 tcp flags & (syn | ack) == ack drop",
        ) {
            return;
        }
        let holder = lab.client.run(|| {
            let connector = Connector::default().bind((CLIENT_V4, 50001).into());
            connector.connect((SERVER_V4, 2222).into(), &mirror::request("holder", 64)).unwrap()
        });
        assert!(holder.info().unwrap().syn_data, "the connection used fast open");
        let (document, ended) = lab.document(&["-n", "1"]);
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(document["summary"]["cause"], "queue-full", "{document}");
        let counters = &document["connections"][0]["evidence"]["server"]["counters"];
        // On a busy machine the server may read the counters before it accepts this connection.
        let changes = [counters, &counters["earlier"]];
        let overflows = changes.iter().filter_map(|change| change["listen_overflow"].as_u64());
        assert_eq!(overflows.sum::<u64>(), 1, "{document}");
        let advice = document["summary"]["advice"].as_str().unwrap();
        assert!(advice.contains("fastopen-queue"), "{advice}");
    });
}

#[test]
fn stripped_option_is_diagnosed() {
    isolated(|| {
        let lab = Lab::new();
        if !filter(
            &lab.server,
            "add table ip t; add chain ip t pre { type filter hook prerouting priority raw; }; \
             add rule ip t pre tcp dport 2222 reset tcp option fastopen; \
             add rule ip t pre tcp dport 2222 reset tcp option 254",
        ) {
            return;
        }
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, ended) = lab.document(&[]);
        assert_eq!(ended.code, Some(1), "{document}");
        assert_eq!(each(&document, "cause"), ["option-stripped"; 3], "{document}");
        assert_eq!(document["summary"]["blame"], "path", "{document}");
        let syn = &document["connections"][0]["evidence"]["server"]["syn"]["saved"];
        assert!(syn["fast_open"].is_null(), "{syn}");
        assert!(syn["trailing_nops"].as_u64().unwrap() >= 4, "NOPs replace the option: {syn}");
        let advice = document["summary"]["advice"].as_str().unwrap();
        assert!(advice.contains("tfo-client path -s 192.0.2.2 -p 2222 --to-target"), "{advice}");
    });
}
