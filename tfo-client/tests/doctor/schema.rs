//! `schema/doctor.json` says what is printed, and no more. Each document of the other tests is held
//! against it.

use jsonschema::Validator;
use serde_json::{Value, json};
use tfo_core::lab::isolated;

use crate::harness::{connect, doctor, hosts, listen, run, server_address};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/doctor.json")).unwrap()
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
fn schema_rejects_wrong_extra_and_missing_fields() {
    isolated(|| {
        let (client, server) = hosts();
        let listener = listen(&server);
        let _open = (connect(&client, server_address()), listener.accept().unwrap());
        let ended = run(&client, doctor(&["-o", "json"]));
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        hold(&document);
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
            assert!(!faults(&broken).is_empty(), "{pointer}");
        }
        for pointer in
            ["", "/doctor", "/doctor/settings", "/doctor/findings/0", "/doctor/connections/0"]
        {
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
