//! Each box does what its name says, and the verdict names it.

use serde_json::Value;
use tfo_core::lab::{Middlebox, isolated};

use super::document;

/// What the last of three connections across a path with this box is: verdict, cause.
fn expected(middlebox: Middlebox) -> (&'static str, Option<&'static str>) {
    match middlebox {
        // The second request uses the other option, and the third connection its cookie.
        Middlebox::StripSynOption34
        | Middlebox::StripSynAckOption34
        // Linux asks by option 34 first: nobody uses 254.
        | Middlebox::StripSynOption254
        | Middlebox::StripSynAckOption254
        // Its second SYN is one too many, and does no harm.
        | Middlebox::DuplicateSyn
        // Harmless, and both ends take either number.
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
    let document = document(&format!("--rtt 10ms --box {middlebox} {more}"));
    let (verdict, cause) = expected(middlebox);
    let summary = &document["summary"];
    assert_eq!(summary["verdict"], verdict, "{middlebox}: {summary}");
    assert_eq!(summary["cause"], Value::from(cause), "{middlebox}: {summary}");
    if cause.is_some() {
        assert_eq!(summary["blame"], "path", "{middlebox}: {summary}");
        let connections = document["connections"].as_array().unwrap();
        let deeds = connections.iter().flat_map(|connection| {
            connection["packets"].as_array().unwrap().iter().map(|packet| &packet["deeds"])
        });
        let did = deeds.filter(|deeds| deeds.to_string().contains(middlebox.name())).count();
        assert!(did > 0, "the record names the box: {middlebox}");
    }
}

#[test]
fn each_box_gets_the_verdict_that_names_what_it_does() {
    isolated(|| {
        // They wait, most of the time, for SYNs that are lost.
        std::thread::scope(|scope| {
            for middlebox in Middlebox::ALL {
                scope.spawn(|| check(*middlebox, ""));
            }
        });
    });
}

#[test]
fn boxes_do_the_same_to_ipv6() {
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
fn servers_with_different_keys_behind_one_address_are_told() {
    isolated(|| {
        let document = document("--rtt 5ms --servers 4 -n 6");
        assert_eq!(document["lab"]["servers"], 4);
        let summary = &document["summary"];
        assert_eq!(summary["cause"], "key-mismatch", "each goes to the next server: {summary}");
        assert_eq!(summary["blame"], "peer", "{summary}");
    });
}
