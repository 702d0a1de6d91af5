//! Checks that `schema/load.json` accepts the printed documents, and nothing else. The other tests validate each of
//! their documents too.

use jsonschema::Validator;
use serde_json::{Value, json};
use tfo_core::lab::isolated;

use crate::harness::{self, Lab};
use crate::{answer, serve};

fn schema() -> Value {
    harness::json(include_str!("../../schema/load.json"))
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
fn name_without_an_address_gets_a_document_too() {
    isolated(|| {
        let (document, ended) = Lab::new().document(&["-q", "load", "host.invalid"]);
        assert_eq!(ended.code, Some(3), "{document}");
        assert_valid(&document);
        assert!(
            document["target"]["address"].is_null() && document["load"].is_null(),
            "{document}"
        );
        let error = document["error"].as_str().unwrap();
        assert!(error.starts_with("no address for host.invalid: "), "{error}");
    });
}

#[test]
fn schema_rejects_wrong_extra_and_missing_fields() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let (document, _) = lab.document(&["-q", "load", "--rate", "1000", "--count", "20"]);
        assert_valid(&document);
        for (pointer, value) in [
            ("/schema", json!(2)),
            ("/load/settings/mode", json!("fast")),
            ("/load/verdicts/0/verdict", json!("fast")),
            ("/load/verdicts/0/cause", json!("bad-luck")),
            ("/load/errors", json!({"bad-luck": 1})),
            ("/load/errors", json!({"refused": 0})),
            ("/load/times_us/first_byte", json!([])),
            ("/load/times_us/late_start/p99_9", json!("1 ms")),
            ("/load/limits/rate_met", json!("yes")),
        ] {
            let mut broken = document.clone();
            *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
            assert!(!errors(&broken).is_empty(), "{pointer}");
        }
        for pointer in [
            "",
            "/target",
            "/load",
            "/load/settings",
            "/load/connections",
            "/load/verdicts/0",
            "/load/times_us",
            "/load/times_us/reply",
            "/load/cpu_us_per_connection",
            "/load/limits",
        ] {
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
