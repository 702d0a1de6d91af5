//! Each middlebox has its effect, and the verdict identifies it.

use serde_json::Value;
use tfo_core::lab::{Middlebox, isolated};

use super::document;

/// Returns the expected verdict and cause of the last of four connections across a path with this box. A fault counts
/// as the path's when it has repeated three times; the first connection fetches the cookie.
fn expected(middlebox: Middlebox) -> (&'static str, Option<&'static str>) {
    match middlebox {
        // The second request uses the other option, and the third connection its cookie.
        Middlebox::StripSynOption34
        | Middlebox::StripSynAckOption34
        // Linux requests a cookie by option 34 first, so option 254 is not used.
        | Middlebox::StripSynOption254
        | Middlebox::StripSynAckOption254
        // The second SYN has no effect.
        | Middlebox::DuplicateSyn
        // Harmless: both ends accept either option number.
        | Middlebox::ClampMss
        | Middlebox::StripSackPermitted
        | Middlebox::RenumberSynOption => ("fast-open", None),
        Middlebox::StripSynOption | Middlebox::OverwriteOption => {
            ("fallback", Some("option-stripped"))
        }
        Middlebox::StripSynAckOption => ("fallback", Some("syn-ack-option-stripped")),
        Middlebox::DropSynData | Middlebox::DropSynOption | Middlebox::DropSynAckCookie => {
            ("fallback", Some("syn-retransmitted"))
        }
        Middlebox::StripSynData => ("fallback", Some("syn-data-stripped")),
        Middlebox::RemoveSynOption => ("fallback", Some("option-stripped")),
        Middlebox::ResetSynData | Middlebox::ProhibitSynData => {
            ("failed", Some("reset-on-syn-data"))
        }
        Middlebox::SwallowAfterSynData => ("failed", Some("dead-after-syn-data")),
        Middlebox::CorruptCookie => ("fallback", Some("cookie-corrupted")),
        Middlebox::TranslateSource => ("fallback", Some("address-translated")),
        other => panic!("{other} has no expectation"),
    }
}

fn check(middlebox: Middlebox, more: &str) {
    let document = document(&format!("--rtt 10ms -n 4 --box {middlebox} {more}"));
    let (verdict, cause) = expected(middlebox);
    let summary = &document["summary"];
    assert_eq!(summary["verdict"], verdict, "{middlebox}: {summary}");
    assert_eq!(summary["cause"], Value::from(cause), "{middlebox}: {summary}");
    if cause.is_some() {
        assert_eq!(summary["blame"], "path", "{middlebox}: {summary}");
        let connections = document["connections"].as_array().unwrap();
        let mut modifications = connections.iter().flat_map(|connection| {
            connection["packets"].as_array().unwrap().iter().map(|packet| &packet["deeds"])
        });
        assert!(
            modifications.any(|found| found.to_string().contains(middlebox.name())),
            "no packet names the box: {middlebox}"
        );
    }
}

#[test]
fn each_box_gets_the_verdict_for_its_effect() {
    isolated(|| {
        // In parallel, because most of them wait for lost SYNs.
        std::thread::scope(|scope| {
            for middlebox in Middlebox::ALL {
                scope.spawn(|| check(*middlebox, ""));
            }
        });
    });
}

#[test]
fn boxes_have_the_same_effect_on_ipv6() {
    isolated(|| {
        check(Middlebox::StripSynOption, "-6");
        check(Middlebox::CorruptCookie, "-6");
        check(Middlebox::TranslateSource, "-6");
    });
}

#[test]
fn boxes_can_be_combined() {
    isolated(|| {
        let both = "--rtt 10ms --box strip-syn-option-34 --box strip-syn-option-254";
        let document = document(both);
        assert_eq!(document["summary"]["cause"], "option-stripped", "{}", document["summary"]);
    });
}

#[test]
fn servers_with_different_keys_are_reported() {
    isolated(|| {
        let document = document("--rtt 5ms --servers 4 -n 6");
        assert_eq!(document["lab"]["servers"], 4);
        let summary = &document["summary"];
        assert_eq!(
            summary["cause"], "key-mismatch",
            "each connection goes to the next server: {summary}"
        );
        assert_eq!(summary["blame"], "peer", "{summary}");
    });
}
