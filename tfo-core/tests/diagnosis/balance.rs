//! Keys behind one address, counted from evidence.

use serde_json::{Value, json};
use tfo_core::diagnosis::{Balance, Evidence, balance};

const HERE: &str = "192.0.2.1:40000";
const SERVER: &str = "192.0.2.2:2222";

/// What a connection did: the cookie before it and after it.
enum Did {
    Granted(&'static str),
    Hit(&'static str, &'static str),
    Missed(&'static str, &'static str),
    /// The SYN's data was not taken, and no cookie came along.
    Ignored(&'static str),
}

fn evidence(did: &Did) -> Value {
    let hex = |cookie: &str| json!({"hex": cookie});
    let (before, after, acked, code) = match did {
        Did::Granted(new) => (json!("none"), hex(new), false, "cookie-unavailable"),
        Did::Hit(old, new) => (hex(old), hex(new), true, "unspecified"),
        Did::Missed(old, new) => (hex(old), hex(new), false, "data-not-acked"),
        Did::Ignored(old) => (hex(old), hex(old), false, "data-not-acked"),
    };
    let attempt = match did {
        Did::Granted(_) => json!("after-handshake"),
        _ => json!({"in-syn": 64}),
    };
    json!({"client": {
        "remote": SERVER, "local": HERE, "message_bytes": 64, "attempt": attempt,
        "result": "answered", "cookie_before": before, "cookie_after": after,
        "tcp": {"state": "established", "syn_data": acked, "client_fail": code},
    }})
}

/// With the server's half: from where to where the SYN arrived.
fn mirrored(did: &Did, source: &str, destination: &str) -> Value {
    let mut evidence = evidence(did);
    evidence["server"] = json!({
        "source": source, "destination": destination, "syn": "not-saved",
        "tcp": {"state": "established", "syn_data": false},
    });
    evidence
}

fn counted(evidence: Vec<Value>) -> Balance {
    let read = |value| serde_json::from_value::<Evidence>(value).expect("evidence");
    balance(&evidence.into_iter().map(read).collect::<Vec<_>>())
}

const A: &str = "aaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbb";

#[test]
fn one_key_is_one_cookie_that_is_always_accepted() {
    let mut dids = vec![evidence(&Did::Granted(A))];
    dids.extend((0..9).map(|_| evidence(&Did::Hit(A, A))));
    let found = counted(dids);
    assert_eq!((found.keys, found.observed, found.tried, found.hits), (1, 10, 9, 9));
    assert_eq!(found.expected_hit_rate, Some(1.0));
    let sure = found.confidence.expect("something was seen");
    assert!(
        (sure - (1.0 - 0.5_f64.powi(10))).abs() < 1e-9,
        "a second one missed ten times: {sure}"
    );
    assert!(found.finding.starts_with("One key answers behind this address."), "{}", found.finding);
    assert_eq!(found.advice, "Nothing to do.");
}

#[test]
fn servers_in_turn_are_told_from_servers_by_chance() {
    let turns: Vec<Value> = std::iter::once(evidence(&Did::Granted(A)))
        .chain((0..5).flat_map(|_| [evidence(&Did::Missed(A, B)), evidence(&Did::Missed(B, A))]))
        .collect();
    let found = counted(turns);
    assert_eq!((found.keys, found.tried, found.hits), (2, 10, 0));
    let seen: Vec<_> = found.cookies.iter().map(|seen| seen.connections).collect();
    assert_eq!(seen, [6, 5], "each connection shows the key of who answered it");
    assert!(found.finding.contains("expect 50 % hits; 0 of 10"), "{}", found.finding);
    assert!(found.finding.contains("to the servers in turn"), "{}", found.finding);
    assert!(found.finding.contains("98.8 % sure"), "1 - (2/3)^11: {}", found.finding);
    assert!(found.advice.contains("`sudo tfo-server keys show --sysctl`"), "{}", found.advice);

    let chance = [Did::Granted(A), Did::Hit(A, A), Did::Missed(A, B), Did::Hit(B, B)];
    let found = counted(chance.iter().map(evidence).collect());
    assert_eq!((found.keys, found.tried, found.hits), (2, 3, 2));
    assert!(!found.finding.contains("in turn"), "{}", found.finding);
}

#[test]
fn servers_that_take_each_others_cookies_miss_nothing() {
    let rotation = [Did::Granted(A), Did::Hit(A, B), Did::Hit(B, A), Did::Hit(A, A)];
    let found = counted(rotation.iter().map(evidence).collect());
    assert_eq!((found.keys, found.renewed, found.hits), (2, 2, 3));
    assert_eq!(found.expected_hit_rate, None, "1 of 2 would be wrong");
    assert!(found.finding.contains("backup key: 3 of 3"), "{}", found.finding);
    assert!(found.advice.contains("while keys are rotated"), "{}", found.advice);
}

#[test]
fn a_connection_that_shows_no_key_is_not_counted() {
    let found = counted([Did::Ignored(A), Did::Ignored(A)].iter().map(evidence).collect());
    assert_eq!((found.connections, found.observed, found.tried, found.keys), (2, 0, 2, 0));
    assert_eq!((found.expected_hit_rate, found.confidence), (None, None));
    assert!(found.finding.starts_with("None of 2 connections showed"), "{}", found.finding);
    assert_eq!(counted(Vec::new()).keys, 0, "no connections are no division by zero");
}

#[test]
fn an_address_that_makes_the_difference_is_not_taken_for_a_key() {
    let dids = [Did::Granted(A), Did::Missed(A, B), Did::Missed(B, A)];
    let servers = ["198.51.100.1:2222", "198.51.100.2:2222", "198.51.100.1:2222"];
    let at = |(did, server): (&Did, &str)| mirrored(did, HERE, server);
    let found = counted(dids.iter().zip(servers).map(at).collect());
    assert_eq!((found.keys, found.server_addresses, found.client_addresses), (1, Some(2), Some(1)));
    assert!(found.finding.contains("2 addresses of their own"), "{}", found.finding);
    assert!(found.advice.contains("the same key alone does not help"), "{}", found.advice);

    let sources = ["203.0.113.1:1", "203.0.113.2:1", "203.0.113.1:1"];
    let from = |(did, source): (&Did, &str)| mirrored(did, source, SERVER);
    let found = counted(dids.iter().zip(sources).map(from).collect());
    assert_eq!((found.keys, found.server_addresses, found.client_addresses), (1, Some(1), Some(2)));
    assert!(found.advice.contains("in the NAT"), "{}", found.advice);

    let found = counted(dids.iter().map(|did| mirrored(did, HERE, SERVER)).collect());
    assert_eq!(found.keys, 2, "the same addresses: two keys");
}
