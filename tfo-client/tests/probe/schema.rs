//! Checks that `schema/probe.json` accepts the printed documents, and nothing else.

use jsonschema::Validator;
use serde_json::{Value, json};
use tfo_core::lab::isolated;

use crate::harness::{Lab, json as parse};

fn schema() -> Value {
    parse(include_str!("../../schema/probe.json"))
}

fn validator() -> Validator {
    let schema = schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema), "invalid schema");
    jsonschema::draft202012::new(&schema).unwrap()
}

fn errors(document: &Value) -> Vec<String> {
    let describe =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator().iter_errors(document).map(describe).collect()
}

/// Panics if the document does not match the schema.
pub(crate) fn assert_valid(document: &Value) {
    let errors = errors(document);
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

#[test]
fn documents_with_both_halves_are_valid() {
    isolated(|| {
        let lab = Lab::new();
        let Some(_server) = lab.serve_all(&[]) else { return };
        for (server_bits, arguments) in [
            (3, &["-n", "3"][..]),
            (3, &["-s", "2001:db8::2", "--size", "20B"]),
            (3, &["--mode", "off"]),
            (1, &[]),
            (0x203, &[]),
        ] {
            lab.set_server_bits(server_bits);
            let (document, _) = lab.document(arguments);
            assert_eq!(document["target"]["mirror"], true, "{document}");
            assert!(document["connections"][0]["evidence"]["server"].is_object(), "{document}");
            assert_valid(&document);
        }
        lab.set_on_server("net/ipv4/tcp_syncookies", "2");
        let (document, _) = lab.document(&[]);
        assert_eq!(document["connections"][0]["evidence"]["server"]["syn"], "empty", "{document}");
        assert_valid(&document);
    });
}

#[test]
fn documents_with_the_client_half_only_are_valid() {
    isolated(|| {
        let lab = Lab::new();
        let refused = lab.document(&["-p", "9"]).0;
        let unreachable = lab.document(&["-s", "203.0.113.1"]).0;
        let timed_out = ["-s", "192.0.2.99", "-n", "1", "--connect-timeout", "50ms"];
        let timed_out = lab.document(&timed_out).0;
        for document in [&refused, &unreachable, &timed_out] {
            assert_eq!(document["summary"]["verdict"], "failed", "{document}");
            assert_valid(document);
        }
        lab.set_client_bits(0);
        let disabled = lab.document(&["-p", "9"]).0;
        assert_valid(&disabled);
        lab.set_client_bits(3);
        let Some(_server) = lab.serve_all(&["--service", "discard"]) else { return };
        let alone = lab.document(&["--no-reply"]).0;
        assert!(alone["connections"][0]["evidence"]["server"].is_null(), "{alone}");
        assert_valid(&alone);
        let silent = lab.document(&["--reply-timeout", "50ms"]).0;
        assert_eq!(silent["connections"][0]["evidence"]["client"]["result"], "no-answer");
        assert_valid(&silent);
        // After a refused SYN with data, a regular connection is tried too.
        assert_valid(&lab.document(&["-p", "9", "-n", "1"]).0);
    });
}

#[test]
fn schema_rejects_wrong_extra_and_missing_fields() {
    isolated(|| {
        let lab = Lab::new();
        let (document, _) = lab.document(&["--listen", "-s", "127.0.0.1"]);
        assert_valid(&document);
        for (pointer, value) in [
            ("/schema", json!(2)),
            ("/connections", json!([])),
            ("/connections/0/verdict", json!("fast")),
            ("/connections/0/cause", json!("bad-luck")),
            ("/connections/0/n", json!(0)),
            ("/connections/0/rtt_us", json!("1 ms")),
            ("/connections/1/blame", json!("you")),
            ("/connections/1/evidence/client", json!(null)),
            ("/connections/1/evidence/client/attempt", json!({"in-syn": 64, "regular": 1})),
            ("/connections/1/evidence/server/syn/saved/fast_open/cookie", json!("xyz")),
            ("/connections/1/evidence/client/cookie_after/hex", json!("12")),
            ("/target/address", json!("127.0.0.1")),
            ("/summary/candidates", json!(["fast-open"])),
            ("/summary/finding", json!("")),
        ] {
            let mut broken = document.clone();
            *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
            assert!(!errors(&broken).is_empty(), "{pointer}");
        }
        for pointer in ["", "/target", "/connections/0", "/connections/0/evidence", "/summary"] {
            let mut more = document.clone();
            let object = more.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.insert("surprise".to_owned(), json!(1));
            assert!(!errors(&more).is_empty(), "an unknown field in {pointer:?}");
            let mut less = document.clone();
            let object = less.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            let name = object.keys().next().unwrap().clone();
            object.remove(&name);
            assert!(!errors(&less).is_empty(), "{name} missing in {pointer:?}");
        }
    });
}
