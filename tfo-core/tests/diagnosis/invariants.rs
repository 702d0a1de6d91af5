//! What holds for any evidence, likely or not.

use std::collections::BTreeSet;

use proptest::option;
use proptest::prelude::*;
use tfo_core::diagnosis::{Ending, Evidence, Outcome, Verdict, judge, summarize};
use tfo_core::socket::Attempt;
use tfo_core::socket::SynRecord;
use toml::{Table, Value};

/// An evidence type can't be written as a literal here, so it is read from TOML of any content.
fn evidence() -> impl Strategy<Value = Evidence> {
    (option::of(client()), option::of(server())).prop_map(|(client, server)| {
        let both = table([("client", client), ("server", server)]);
        both.clone().try_into().unwrap_or_else(|why| panic!("{both} is no evidence: {why}"))
    })
}

fn client() -> impl Strategy<Value = Value> {
    let errno =
        || prop_oneof![prop::sample::select(&[1, 13, 101, 104, 110, 111, 113][..]), any::<i32>()];
    let attempt = prop_oneof![
        prop_oneof![Just(0_i64), Just(32), 1_i64..70_000].prop_map(|sent| variant("in-syn", sent)),
        word(&["after-handshake", "regular", "paused", "client-disabled"]),
    ];
    let result = prop_oneof![
        3 => word(&["answered", "connected", "closed"]),
        1 => word(&["no-answer", "no-handshake"]),
        1 => errno().prop_map(|errno| variant("broken", errno)),
        1 => errno().prop_map(|errno| variant("failed", errno)),
    ];
    let check = prop_oneof![
        word(&["connected", "timed-out"]),
        errno().prop_map(|errno| variant("failed", errno)),
    ];
    (
        (address(), option::of(address()), 0_i64..100_000, attempt, result),
        (option::of(tcp()), option::of(bits()), option::of(cached()), option::of(cached())),
        (option::of(counters()), option::of(check)),
    )
        .prop_map(
            |((remote, local, size, attempt, result), (tcp, bits, before, after), rest)| {
                let (counters, check) = rest;
                table([
                    ("remote", Some(remote)),
                    ("local", local),
                    ("message_bytes", Some(size.into())),
                    ("attempt", Some(attempt)),
                    ("result", Some(result)),
                    ("tcp", tcp),
                    ("tcp_fastopen", bits),
                    ("cookie_before", before),
                    ("cookie_after", after),
                    ("counters", counters.map(|(_, change)| change.into())),
                    ("regular_check", check),
                ])
            },
        )
}

fn server() -> impl Strategy<Value = Value> {
    let host = (bits(), 0_u32..3, 0_u32..4).prop_map(|(bits, queue, syncookies)| {
        table([
            ("tcp_fastopen", Some(bits)),
            ("queue", Some(queue.into())),
            ("syncookies", Some(syncookies.into())),
        ])
    });
    let option = (word(&["standard", "experimental"]), hex())
        .prop_map(|(kind, cookie)| table([("kind", Some(kind)), ("cookie", Some(cookie.into()))]));
    let saved = (option::of(option), prop_oneof![Just(0_u16), any::<u16>()], 0_u32..40).prop_map(
        |(option, payload, nops)| {
            let saved = table([
                ("ttl", Some(Value::Integer(63))),
                ("options", Some(vec![2, 4, 8].into())),
                ("fast_open", option),
                ("payload_bytes", Some(u32::from(payload).into())),
                ("trailing_nops", Some(nops.into())),
            ]);
            variant("saved", saved)
        },
    );
    let syn = prop_oneof![1 => word(&["not-saved", "empty"]), 3 => saved];
    (address(), address(), syn, tcp(), option::of(host), option::of(counters())).prop_map(
        |(source, destination, syn, tcp, host, counters)| {
            let counters = counters.map(|(connections, mut change)| {
                change.insert("connections".to_owned(), connections.into());
                change.into()
            });
            table([
                ("source", Some(source)),
                ("destination", Some(destination)),
                ("syn", Some(syn)),
                ("tcp", Some(tcp)),
                ("host", host),
                ("counters", counters),
            ])
        },
    )
}

fn tcp() -> impl Strategy<Value = Value> {
    let fail = word(&["unspecified", "cookie-unavailable", "data-not-acked", "syn-retransmitted"]);
    let state = word(&["established", "syn-sent", "syn-recv", "close", "unknown"]);
    (state, any::<bool>(), any::<bool>(), fail, 0_u32..4).prop_map(
        |(state, syn_data, tfo_child, fail, again)| {
            table([
                ("state", Some(state)),
                ("syn_data", Some(syn_data.into())),
                ("tfo_child", Some(tfo_child.into())),
                ("client_fail", Some(fail)),
                ("total_retrans", Some(again.into())),
            ])
        },
    )
}

/// Connections, and the change of the counters.
fn counters() -> impl Strategy<Value = (u32, Table)> {
    const NAMES: [&str; 9] = [
        "active",
        "active_fail",
        "passive",
        "passive_fail",
        "listen_overflow",
        "cookie_reqd",
        "blackhole",
        "passive_alt_key",
        "syn_retrans",
    ];
    (0_u32..3, prop::array::uniform9(0_u32..2)).prop_map(|(connections, changes)| {
        let change = NAMES.iter().zip(changes).map(|(name, n)| ((*name).to_owned(), n.into()));
        (connections, change.collect())
    })
}

fn cached() -> impl Strategy<Value = Value> {
    prop_oneof![word(&["none"]), hex().prop_map(|cookie| variant("hex", cookie))]
}

/// Few values, so that two of them are often the same.
fn hex() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("00112233445566aa".to_owned()),
        Just("00112233445566AA".to_owned()),
        "([0-9a-f]{2}){4,16}",
    ]
}

fn bits() -> impl Strategy<Value = Value> {
    prop_oneof![0_u32..8, Just(0x203), Just(0x402), any::<u32>()].prop_map(Value::from)
}

fn address() -> impl Strategy<Value = Value> {
    word(&[
        "192.0.2.1:40000",
        "[::ffff:192.0.2.1]:40000",
        "198.51.100.2:0",
        "[2001:db8::2]:2222",
        "[fe80::1%7]:2222",
        "0.0.0.0:0",
    ])
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(words).prop_map(Value::from)
}

fn variant(name: &str, content: impl Into<Value>) -> Value {
    table([(name, Some(content.into()))])
}

fn table<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    let present = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Table(present.collect())
}

/// What holds for the words of any verdict.
fn assert_well_formed(verdict: &Verdict) {
    let Verdict { cause, candidates, finding, advice, .. } = verdict;
    assert!(cause.is_none_or(|it| !candidates.contains(&it)), "cause is a candidate: {verdict:?}");
    let distinct: BTreeSet<_> = candidates.iter().collect();
    assert_eq!(distinct.len(), candidates.len(), "a candidate is listed twice: {verdict:?}");
    assert!(
        !verdict.candidates_complete || candidates.len() > 1,
        "a single candidate is the cause: {verdict:?}"
    );
    assert!(!advice.trim().is_empty(), "there is no advice: {verdict:?}");
    for text in [finding, advice] {
        assert!(!text.contains('\n') && !text.contains("  "), "not one line of text: {text}");
        assert_eq!(text.matches('`').count() % 2, 0, "a command has no end: {text}");
        assert!(text.ends_with('.') && !text.ends_with(".."), "no full stop at the end: {text}");
    }
    assert!(!finding.trim_end_matches('.').contains(". "), "not one sentence: {finding}");
    let worked = matches!(verdict.outcome, Outcome::FastOpen | Outcome::CookieGranted);
    if worked {
        assert!(cause.is_none() && candidates.is_empty(), "success has no cause: {verdict:?}");
    }
    assert_eq!(verdict.blame.is_some(), blameable(verdict), "blame without reason: {verdict:?}");
}

/// A failure blames somebody, if only the unknown; an empty message nobody.
fn blameable(verdict: &Verdict) -> bool {
    match verdict.outcome {
        Outcome::FastOpen | Outcome::CookieGranted => false,
        Outcome::NotAttempted => !verdict.finding.contains("empty"),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_evidence_gets_a_verdict_that_is_well_formed(evidence in evidence()) {
        assert_well_formed(&judge(&evidence));
    }

    #[test]
    fn fast_open_is_what_the_bit_says_of_a_connection_that_ended_well(evidence in evidence()) {
        let outcome = judge(&evidence).outcome;
        if let Some(client) = &evidence.client {
            let ended_well =
                matches!(client.result, Ending::Answered | Ending::Connected | Ending::Closed);
            let acked = client.tcp.is_some_and(|tcp| tcp.syn_data);
            prop_assert_eq!(outcome == Outcome::FastOpen, ended_well && acked, "only SYN_DATA tells");
            prop_assert_eq!(outcome == Outcome::Failed, !ended_well, "only the ending tells");
            if client.attempt == Attempt::Regular && ended_well && !acked {
                prop_assert_eq!(outcome, Outcome::NotAttempted, "it was asked for");
            }
        } else if let Some(server) = &evidence.server {
            prop_assert!(outcome != Outcome::FastOpen || server.tcp.syn_data, "no data, no fast open");
        }
    }

    /// What the other half adds may sharpen a cause. It never turns a failure into a success.
    #[test]
    fn the_servers_half_does_not_change_whether_it_worked(mut evidence in evidence()) {
        if evidence.client.is_some() {
            let joined = judge(&evidence);
            evidence.server = None;
            let alone = judge(&evidence);
            prop_assert_eq!(joined.outcome == Outcome::FastOpen, alone.outcome == Outcome::FastOpen,
                "the client saw it: {:?} {:?}", joined, alone);
            prop_assert_eq!(joined.outcome == Outcome::Failed, alone.outcome == Outcome::Failed,
                "the client saw it: {:?} {:?}", joined, alone);
        }
    }

    #[test]
    fn an_empty_saved_syn_never_proves_a_stripped_option(evidence in evidence()) {
        let empty = evidence.server.as_ref().is_some_and(|half| half.syn == SynRecord::SynCookie);
        if empty && evidence.client.is_none() {
            let cause = judge(&evidence).cause;
            prop_assert!(cause != Some(tfo_core::diagnosis::Cause::OptionStripped), "{:?}", cause);
        }
    }

    #[test]
    fn any_sequence_has_a_summary_that_is_well_formed(
        evidence in prop::collection::vec(evidence(), 0..5),
    ) {
        let verdicts: Vec<_> = evidence.iter().map(judge).collect();
        let summary = summarize(&verdicts);
        assert_well_formed(&summary.verdict);
        prop_assert_eq!(summary.total, verdicts.len());
        prop_assert!(summary.fast_open <= summary.total);
        if let Some(last) = verdicts.last() {
            prop_assert_eq!(summary.verdict.outcome, last.outcome, "the last one decides");
            prop_assert_eq!(summary.verdict.cause, last.cause, "the last one decides");
        }
    }
}
