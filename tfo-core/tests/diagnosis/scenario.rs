//! Scenario files: evidence as differences from a base, and the verdict expected of it.

use std::fs;
use std::path::PathBuf;

use tfo_core::diagnosis::{Blame, Cause, Evidence, Outcome};
use toml::{Table, Value};

/// One row of the table: both halves of the evidence, judged together and each alone.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) row: String,
    pub(crate) name: String,
    /// The view, its evidence and what is expected of it.
    pub(crate) views: Vec<(&'static str, Evidence, Expected)>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) verdict: Outcome,
    pub(crate) cause: Option<Cause>,
    pub(crate) blame: Option<Blame>,
    pub(crate) candidates: Vec<Cause>,
    /// Whether these are all, where that matters.
    pub(crate) complete: Option<bool>,
    pub(crate) finding: Vec<String>,
    pub(crate) finding_lacks: Vec<String>,
    pub(crate) advice: Vec<String>,
}

/// Every scenario of every file.
pub(crate) fn all() -> Vec<Scenario> {
    let bases = read("bases");
    ["works", "no_cookie", "data_not_acked", "regular", "failed", "cases", "worlds"]
        .into_iter()
        .flat_map(|file| {
            let Value::Array(rows) = take(&mut read(file), "scenario").expect(file) else {
                panic!("{file}: `scenario` is no list of tables");
            };
            rows
        })
        .map(|row| scenario(&bases, row))
        .collect()
}

/// The evidence of a base, with these lines of TOML laid over it.
pub(crate) fn evidence(base: &str, changes: &str) -> Evidence {
    let mut evidence = read("bases")[base].clone();
    merge(&mut evidence, changes.parse::<Table>().expect("changes are TOML").into());
    evidence.try_into().expect("a base with changes is evidence")
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "scenarios"].iter().collect()
}

fn read(file: &str) -> Table {
    let path = folder().join(file).with_extension("toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    text.parse().unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn scenario(bases: &Table, row: Value) -> Scenario {
    let Value::Table(mut row) = row else { panic!("a scenario is no table: {row}") };
    let name = text(&mut row, "name");
    let base = text(&mut row, "base");
    let mut both = bases.get(&base).unwrap_or_else(|| panic!("{name}: no base {base}")).clone();
    let mut changes = Table::new();
    for half in ["client", "server"] {
        changes.extend(take(&mut row, half).map(|change| (half.to_owned(), change)));
    }
    merge(&mut both, changes.into());
    for path in strings(&mut row, "without") {
        remove(&mut both, &path, &name);
    }
    let mut views = Vec::new();
    for (view, left_out) in
        [("client-alone", Some("server")), ("server-alone", Some("client")), ("joined", None)]
    {
        let Some(Value::Table(mut expected)) = take(&mut row, view) else { continue };
        let mut evidence = both.clone();
        if let Some(half) = left_out {
            remove(&mut evidence, half, &name);
        }
        let evidence =
            evidence.try_into().unwrap_or_else(|why| panic!("{name}: no evidence: {why}"));
        let it = Expected {
            verdict: word(&mut expected, "verdict").expect("a verdict is expected"),
            cause: word(&mut expected, "cause"),
            blame: word(&mut expected, "blame"),
            candidates: word(&mut expected, "candidates").unwrap_or_default(),
            complete: word(&mut expected, "complete"),
            finding: strings(&mut expected, "finding"),
            finding_lacks: strings(&mut expected, "finding-lacks"),
            advice: strings(&mut expected, "advice"),
        };
        assert!(expected.is_empty(), "{name}, {view}: unknown keys {expected}");
        views.push((view, evidence, it));
    }
    let id = text(&mut row, "row");
    assert!(row.is_empty(), "{name}: unknown keys {row}");
    assert!(!views.is_empty(), "{name}: nothing is expected");
    Scenario { row: id, name, views }
}

/// Lays changes over evidence. A variant with other content replaces the one that was there.
fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Table(into), Value::Table(changes)) => {
            for (key, change) in changes {
                match into.get_mut(&key) {
                    Some(old @ Value::Table(_)) => merge(old, change),
                    _ => drop(into.insert(key, change)),
                }
            }
        }
        (into, change) => *into = change,
    }
}

fn remove(from: &mut Value, path: &str, name: &str) {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let table = parent
        .split('.')
        .filter(|part| !part.is_empty())
        .try_fold(from, |value, part| value.get_mut(part))
        .and_then(Value::as_table_mut);
    let removed = table.and_then(|table| table.remove(key));
    assert!(removed.is_some(), "{name}: there is no {path} to leave out");
}

fn take(table: &mut Table, key: &str) -> Option<Value> {
    table.remove(key)
}

fn text(table: &mut Table, key: &str) -> String {
    match take(table, key) {
        Some(Value::String(text)) => text,
        other => panic!("`{key}` is {other:?} in {table}"),
    }
}

fn strings(table: &mut Table, key: &str) -> Vec<String> {
    take(table, key).map_or_else(Vec::new, |list| list.try_into().expect("a list of strings"))
}

fn word<T: serde::de::DeserializeOwned>(table: &mut Table, key: &str) -> Option<T> {
    take(table, key).map(|value| value.try_into().unwrap_or_else(|why| panic!("{key}: {why}")))
}
