//! Keys behind one address, counted from evidence.

use serde_json::{Value, json};
use tfo_core::diagnosis::{Balance, Evidence, balance};

const HERE: &str = "192.0.2.1:40000";
const SERVER: &str = "192.0.2.2:2222";

/// What a connection did: the cookie before it and after it.
enum Did<'a> {
    Granted(&'a str),
    Hit(&'a str, &'a str),
    Missed(&'a str, &'a str),
    /// The SYN's data was not taken, and no cookie came along.
    Ignored(&'a str),
}

fn evidence(did: &Did<'_>) -> Value {
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
fn mirrored(did: &Did<'_>, source: &str, destination: &str) -> Value {
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
    assert!(found.finding.contains("There is no other: they come round"), "{}", found.finding);
    assert!(found.in_turn);
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
    let at = |(did, server): (&Did<'_>, &str)| mirrored(did, HERE, server);
    let found = counted(dids.iter().zip(servers).map(at).collect());
    assert_eq!((found.keys, found.server_addresses, found.client_addresses), (1, Some(2), Some(1)));
    assert!(found.finding.contains("2 addresses of their own"), "{}", found.finding);
    assert!(found.advice.contains("the same key alone does not help"), "{}", found.advice);

    let sources = ["203.0.113.1:1", "203.0.113.2:1", "203.0.113.1:1"];
    let from = |(did, source): (&Did<'_>, &str)| mirrored(did, source, SERVER);
    let found = counted(dids.iter().zip(sources).map(from).collect());
    assert_eq!((found.keys, found.server_addresses, found.client_addresses), (1, Some(1), Some(2)));
    assert!(found.advice.contains("in the NAT"), "{}", found.advice);

    let found = counted(dids.iter().map(|did| mirrored(did, HERE, SERVER)).collect());
    assert_eq!(found.keys, 2, "the same addresses: two keys");
}

/// Numbers by chance, the same at each run.
struct Chance(u64);

impl Chance {
    /// One of the numbers below `end`.
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("it is below a usize")
    }
}

/// What a client sees that connects to these servers, one after another, each with its own key.
fn visit(servers: impl IntoIterator<Item = usize>) -> Balance {
    let mut cached: Option<String> = None;
    let mut seen = Vec::new();
    for server in servers {
        let own = format!("{server:016x}");
        seen.push(evidence(&match &cached {
            None => Did::Granted(&own),
            Some(cached) if *cached == own => Did::Hit(&own, &own),
            Some(cached) => Did::Missed(cached, &own),
        }));
        cached = Some(own);
    }
    counted(seen)
}

fn holds(found: &Balance, keys: usize) -> bool {
    let estimate = found.estimate.expect("something was seen");
    estimate.low <= keys && estimate.high.is_none_or(|high| keys <= high) && found.keys <= keys
}

#[test]
fn interval_holds_the_number_of_keys_in_95_of_100_fleets() {
    let mut chance = Chance(12);
    let (mut right, mut all, mut misfits) = (0, 0, 0);
    for keys in 1..=200 {
        for connections in [5, 20, 60] {
            let found = visit((0..connections).map(|_| chance.below(keys)));
            all += 1;
            right += usize::from(holds(&found, keys));
            // The hits to expect are those of the likely number, within what is possible.
            if let (Some(rate), Some(estimate)) = (found.expected_hit_rate, found.estimate) {
                let likely = estimate.likely.expect("there is a rate");
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let fits = (rate - 1.0 / likely as f64).abs() < 1e-9;
                let within =
                    estimate.low <= likely && estimate.high.is_none_or(|high| likely <= high);
                misfits += usize::from(!fits || !within);
            }
        }
    }
    assert!(right * 100 >= all * 95, "{right} of {all} are right");
    assert_eq!(misfits, 0);
}

#[test]
fn interval_holds_in_any_fleet_that_is_visited_in_turn() {
    for keys in 1..=200 {
        for connections in [2, 5, 20, 60] {
            let found = visit((0..connections).map(|n| n % keys));
            assert!(holds(&found, keys), "{keys} in {connections}: {found:?}");
        }
    }
}

#[test]
fn sixteen_keys_by_chance_are_at_least_those_that_were_seen() {
    let mut chance = Chance(16);
    let found = visit((0..20).map(|_| chance.below(16)));
    assert!(found.keys < 16, "some were not met: {}", found.keys);
    assert!(holds(&found, 16), "{found:?}");
    let at_least = format!("At least {} keys answer behind this address", found.keys);
    assert!(found.finding.starts_with(&at_least), "{}", found.finding);
    assert!(found.finding.contains("with 95 % confidence between"), "{}", found.finding);
    assert!(!found.finding.contains("There is no other"), "{}", found.finding);
}

#[test]
fn without_repeats_a_new_key_each_time_is_possible() {
    let found = visit(0..20);
    let estimate = found.estimate.expect("something was seen");
    assert_eq!((estimate.likely, estimate.low, estimate.high), (None, 20, None));
    assert_eq!(found.expected_hit_rate, None, "any rate is possible");
    assert!(
        found.finding.starts_with("Each of 20 connections showed another key: a new key each time"),
        "{}",
        found.finding
    );
    assert!(found.advice.contains("`--balance 100`"), "{}", found.advice);
    assert!(!visit([0, 1]).finding.contains("There is no other"));
}

#[test]
fn few_connections_with_one_key_do_not_exclude_another() {
    let found = visit([0, 0, 0]);
    assert!(found.finding.starts_with("At least one key answers"), "{}", found.finding);
    assert!(found.finding.contains("there are at most 6 keys"), "{}", found.finding);
    assert!(found.advice.contains("`--balance 20`"), "{}", found.advice);
}
