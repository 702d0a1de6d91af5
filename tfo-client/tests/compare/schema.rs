//! `schema/compare.json` says what is printed, and no more. Each document of the other tests is held
//! against it.

use jsonschema::Validator;
use serde_json::{Value, json};
use tfo_core::lab::isolated;

use super::{among_others, compare, document};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/compare.json")).unwrap()
}

fn validator() -> Validator {
    let schema = schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema), "the schema itself is one");
    jsonschema::draft202012::new(&schema).unwrap()
}

fn faults(document: &Value) -> Vec<String> {
    let fault =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator().iter_errors(document).map(fault).collect()
}

/// Panics if the document is not as the schema says.
pub(crate) fn hold(document: &Value) {
    let faults = faults(document);
    assert!(faults.is_empty(), "{faults:#?}\n{document:#}");
}

#[test]
fn document_of_a_failed_target_is_valid() {
    let _others = among_others();
    isolated(|| {
        let output = compare("-s 127.0.0.1:9 -o json");
        assert_eq!(output.status.code(), Some(3));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        hold(&document);
        assert!(
            document["targets"][0]["error"].as_str().unwrap().contains("refused"),
            "{document}"
        );
    });
}

#[test]
fn schema_rejects_wrong_extra_and_missing_fields() {
    let _others = among_others();
    isolated(|| {
        let document = document("--lab --rtt 1ms -n 2");
        for (pointer, value) in [
            ("/schema", json!(2)),
            ("/targets", json!([])),
            ("/compare/job", json!("")),
            ("/targets/0/answer", json!("maybe")),
            ("/targets/0/doubt", json!("doubtful")),
            ("/targets/0/metric", json!("last-byte")),
            ("/targets/0/hit_rate/low", json!(1.5)),
            ("/targets/0/times/0/regular/median", json!(1.0)),
            ("/targets/0/samples/0/side", json!("both")),
            ("/targets/0/samples/0/verdict", json!("fast")),
            ("/targets/0/samples/0/first_byte_us", json!("1 ms")),
        ] {
            let mut broken = document.clone();
            *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
            assert!(!faults(&broken).is_empty(), "{pointer}");
        }
        let objects = [
            "",
            "/compare",
            "/compare/lab",
            "/targets/0",
            "/targets/0/hit_rate",
            "/targets/0/times/0",
            "/targets/0/times/0/regular",
            "/targets/0/samples/0",
        ];
        for pointer in objects {
            let mut more = document.clone();
            let object = more.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.insert("surprise".to_owned(), json!(1));
            assert!(!faults(&more).is_empty(), "a field that nobody knows in {pointer:?}");
            let mut less = document.clone();
            let object = less.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            let name = object.keys().next().unwrap().clone();
            object.remove(&name);
            assert!(!faults(&less).is_empty(), "{name} missing in {pointer:?}");
        }
    });
}
