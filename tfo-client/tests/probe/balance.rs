//! `--balance`: several servers with different keys behind one address.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tfo_core::cookie::FastOpenKey;
use tfo_core::lab::{Finished, Network, PathSettings, Program, isolated, require};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use crate::harness::{self, Lab, clean};

/// Starts one server for each key behind one address, to which connections go in turn.
fn servers(keys: &'static [u8], v6: bool) -> Network {
    let network = Network::with_servers(PathSettings::new(), keys.len()).unwrap();
    for (host, key) in network.servers().iter().zip(keys) {
        let address = SocketAddr::new(Network::server_address(v6), 2222);
        let key = FastOpenKey::from_hex(&format!("{key:02x}").repeat(16)).unwrap();
        host.run(move || {
            let listener = FastOpenListener::builder(address).keys(key, None).listen().unwrap();
            thread::spawn(move || serve_mirror(&listener));
        });
    }
    network
}

fn probe(network: &Network, v6: bool, arguments: &[&str]) -> Finished {
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    command.args(["--config", "/dev/null"]);
    command.args(["-s", &Network::server_address(v6).to_string()]).args(arguments);
    Program::start(network.client(), command).unwrap().finish()
}

fn balance(network: &Network, v6: bool, count: &str) -> (Value, Finished) {
    let ended = probe(network, v6, &["--balance", count, "-o", "json"]);
    (harness::json(&ended.out)["balance"].clone(), ended)
}

#[test]
fn balance_counts_one_to_four_keys() {
    isolated(|| {
        let sets: [&[u8]; 4] = [&[1], &[1, 2], &[1, 2, 3], &[1, 2, 3, 4]];
        for keys in sets {
            let network = servers(keys, false);
            let (found, ended) = balance(&network, false, "16");
            let count = keys.len();
            assert_eq!(found["keys"], count, "{found}");
            assert_eq!(found["cookies"].as_array().unwrap().len(), count, "{found}");
            assert_eq!(
                (&found["connections"], &found["observed"]),
                (&16.into(), &16.into()),
                "{found}"
            );
            // Each server refuses the cookie of the previous one; a single server accepts all of its cookies.
            assert_eq!(found["tried"], 15, "the first connection requests a cookie: {found}");
            assert_eq!(found["hits"], if count == 1 { 15 } else { 0 }, "{found}");
            let k = f64::from(u32::try_from(count).unwrap());
            assert_eq!(found["expected_hit_rate"], 1.0 / k, "{found}");
            let estimate = json!({"likely": count, "low": count, "high": count});
            assert_eq!(found["estimate"], estimate, "{found}");
            assert_eq!(found["in_turn"], count > 1, "{found}");
            let expected = 1.0 - (k / (k + 1.0)).powi(16);
            let confidence = found["confidence"].as_f64().unwrap();
            assert!((confidence - expected).abs() < 1e-9, "{expected}: {found}");
            assert_eq!(ended.code, Some(i32::from(count > 1)), "{}", ended.err);
        }
    });
}

#[test]
fn servers_that_share_a_key_count_once() {
    isolated(|| {
        let network = servers(&[7, 7, 7], false);
        let (found, ended) = balance(&network, false, "12");
        assert_eq!((&found["keys"], &found["hits"]), (&1.into(), &11.into()), "{found}");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let network = servers(&[7, 7, 8], false);
        let (found, _) = balance(&network, false, "12");
        assert_eq!(found["keys"], 2, "{found}");
        assert_eq!(
            found["hits"], 4,
            "every third connection reaches a server with the key of the previous one: {found}"
        );
    });
}

#[test]
fn balance_works_over_ipv6_without_privileges() {
    isolated(|| {
        let network = servers(&[1, 2], true);
        if !require("setpriv") {
            return;
        }
        let mut command = clean(Command::new("setpriv"));
        command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]);
        command.args([env!("CARGO_BIN_EXE_tfo-client"), "-s", "2001:db8::2", "-o", "json"]);
        command.args(["--balance", "8", "--config", "/dev/null"]);
        let ended = Program::start(network.client(), command).unwrap().finish();
        let found = &harness::json(&ended.out)["balance"];
        assert_eq!(found["keys"], 2, "no cookie has to be deleted: {found}");
    });
}

#[test]
fn text_has_keys_hits_and_that_there_is_no_other() {
    isolated(|| {
        let network = servers(&[1, 2, 3, 4], false);
        let ended = probe(&network, false, &["--balance", "20"]);
        let prose = ended.out.replace('\n', " ");
        for piece in [
            "4 keys answer behind this address: expect 25 % hits; 0 of 19 SYNs with data were accepted",
            "which is less than chance: connections go to the servers in turn",
            "There is no other: they come round in the same order, after 20 connections",
            "`sudo tfo-server keys show --sysctl` on each server",
            "More: tfo-client explain key-mismatch",
        ] {
            assert!(prose.contains(piece), "{piece}: {}", ended.out);
        }
        let guide = include_str!("../../README.md");
        let start = guide.find("4 keys answer").unwrap();
        let shown = guide[start..].split("```").next().unwrap();
        assert!(ended.out.contains(shown), "the guide shows the printed text: {}", ended.out);
        assert_eq!(ended.out.matches("Next: ").count(), 1, "a single advice: {}", ended.out);
    });
}

#[test]
fn document_has_a_balance_only_with_the_flag() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        let (document, _) = lab.document(&[]);
        assert!(document.get("balance").is_none(), "{document}");
        for arguments in [&["--balance", "4"][..], &["--balance", "2", "--mode", "off"]] {
            let (document, _) = lab.document(arguments);
            assert!(document["balance"].is_object(), "{document}");
            crate::schema::assert_valid(&document);
        }
        let ended = lab.probe(&["--balance", "1"]);
        assert_eq!(ended.code, Some(2), "one connection can't count keys: {}", ended.err);
    });
}

#[test]
fn a_key_that_is_new_each_time_is_not_a_number_of_keys() {
    isolated(|| {
        let network = Network::new(PathSettings::new()).unwrap();
        for v6 in [false, true] {
            let address = SocketAddr::new(Network::server_address(v6), 2222);
            network.server().run(move || {
                let builder = FastOpenListener::builder(address);
                let listener = builder.keys(key(0), None).listen().unwrap();
                thread::spawn(move || {
                    for number in 1.. {
                        let accepted = listener.accept().unwrap();
                        listener.set_keys(&key(number), None).unwrap();
                        thread::spawn(move || {
                            let mut stream = accepted.stream;
                            let _ = stream.read(&mut [0; 1024]);
                            let _ = stream.write_all(b"answer");
                        });
                    }
                });
            });
            let (found, _) = balance(&network, v6, "8");
            assert_eq!(found["keys"], 8, "{found}");
            assert_eq!(
                found["estimate"],
                json!({"likely": null, "low": 8, "high": null}),
                "{found}"
            );
            let finding = found["finding"].as_str().unwrap();
            assert!(finding.contains("a new key each time"), "{finding}");
            crate::schema::assert_valid(&harness::json(
                &probe(&network, v6, &["--balance", "8", "-o", "json"]).out,
            ));
        }
    });
}

fn key(number: u16) -> FastOpenKey {
    FastOpenKey::from_hex(&format!("{:04x}", number + 1).repeat(8)).unwrap()
}
