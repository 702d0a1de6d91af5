//! Checks that `schema/compare.json` accepts the printed documents, and nothing else. The other tests validate each of
//! their documents too.

use jsonschema::Validator;
use serde_json::{Value, json};
use tfo_core::lab::isolated;

use super::{among_others, compare, document};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/compare.json")).unwrap()
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
fn document_of_a_failed_target_is_valid() {
    let _others = among_others();
    isolated(|| {
        let output = compare("-s 127.0.0.1:9 -o json");
        assert_eq!(output.status.code(), Some(3));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_valid(&document);
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
            assert!(!errors(&broken).is_empty(), "{pointer}");
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
            assert!(!errors(&more).is_empty(), "an unknown field in {pointer:?}");
            let mut less = document.clone();
            let object = less.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            let name = object.keys().next().unwrap().clone();
            object.remove(&name);
            assert!(!errors(&less).is_empty(), "{name} missing in {pointer:?}");
        }
    });
}
