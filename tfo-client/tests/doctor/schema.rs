//! Checks that `schema/doctor.json` accepts the printed documents, and nothing else. The other tests validate each of
//! their documents too.

use jsonschema::Validator;
use serde_json::{Value, json};
use tfo_core::lab::isolated;

use crate::harness::{connect, doctor, hosts, listen, run, server_address};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/doctor.json")).unwrap()
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
fn schema_rejects_wrong_extra_and_missing_fields() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let _open = (connect(&client, server_address()), listener.accept().unwrap());
        let ended = run(&client, doctor(&["-o", "json"]));
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        assert_valid(&document);
        for (pointer, value) in [
            ("/schema", json!(2)),
            ("/doctor/ready", json!("yes")),
            ("/doctor/settings/key", json!("0011")),
            ("/doctor/findings/0/code", json!("bad-luck")),
            ("/doctor/findings/0/level", json!("bad")),
            ("/doctor/connections/0/verdict", json!("fast")),
            ("/doctor/counters", json!([])),
        ] {
            let mut broken = document.clone();
            *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
            assert!(!errors(&broken).is_empty(), "{pointer}");
        }
        for pointer in
            ["", "/doctor", "/doctor/settings", "/doctor/findings/0", "/doctor/connections/0"]
        {
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
