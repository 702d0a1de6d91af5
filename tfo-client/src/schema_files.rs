//! Generates the files of `schema/` from the document types. To update them:
//! `TFO_UPDATE_SCHEMAS=1 cargo test -p tfo-client schema_files`.

use std::path::Path;
use std::{env, fs};

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::compare::CompareDocument;
use crate::doctor::DoctorDocument;
use crate::load::LoadDocument;
use crate::path::PathDocument;
use crate::probe::ProbeDocument;

/// Forbids fields that the schema does not name.
fn deny_unknown_fields(schema: &mut Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    transform_subschemas(&mut deny_unknown_fields, schema);
}

/// Removes formats such as `uint32`, and defaults: every field is always present.
fn remove_needless(schema: &mut Schema) {
    schema.remove("format");
    schema.remove("default");
    transform_subschemas(&mut remove_needless, schema);
}

/// Turns doc comments into descriptions of JSON: the first paragraph, without links, with "null" for `None`.
fn plain_descriptions(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = plain(text);
    }
    transform_subschemas(&mut plain_descriptions, schema);
}

fn plain(comment: &str) -> String {
    let mut text = String::new();
    let mut rest = comment.split("\n\n").next().unwrap_or_default();
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        text += &format!("{before}`{name}`");
        // Skips the target, if the link names one.
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = target.map_or(after, |(_, rest)| rest);
    }
    text += rest;
    text.replace("`None`", "null").replace('\n', " ")
}

fn generated<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(deny_unknown_fields)
        .with_transform(remove_needless)
        .with_transform(plain_descriptions);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

#[test]
fn schema_files_match_the_document_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    for (name, schema) in [
        ("probe.json", generated::<ProbeDocument<'_>>()),
        ("doctor.json", generated::<DoctorDocument>()),
        ("compare.json", generated::<CompareDocument<'_>>()),
        ("load.json", generated::<LoadDocument>()),
        ("path.json", generated::<PathDocument<'_>>()),
    ] {
        let path = folder.join(name);
        if env::var_os("TFO_UPDATE_SCHEMAS").is_some() {
            fs::write(&path, &schema).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == schema,
            "{} differs from the document's types; if the change is intended, run \
             TFO_UPDATE_SCHEMAS=1 cargo test -p tfo-client schema_files",
            path.display()
        );
    }
}

#[test]
fn descriptions_omit_links_and_later_paragraphs() {
    assert_eq!(
        plain("As [`x`](Self::x), or [`y`].\n`None`: nothing [of it].\n\n# References\n"),
        "As `x`, or `y`. null: nothing [of it]."
    );
}
