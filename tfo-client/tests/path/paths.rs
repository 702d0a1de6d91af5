//! Paths that make it difficult: `paths.toml`, one scenario each.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{all, document, told};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Scenario {
    /// The flags of the lab and of `path`.
    lab: String,
    /// All faults: kind, SYN, interval.
    #[serde(default)]
    faults: Vec<String>,
    /// All harmless changes.
    #[serde(default)]
    changes: Vec<String>,
    /// The hop of a proxy.
    proxy: Option<u8>,
    /// The first hop at which different routers answer.
    unstable: Option<u8>,
    /// What the finding says, among other things.
    #[serde(default)]
    says: Vec<String>,
    /// Run for IPv4 alone.
    #[serde(default)]
    v4_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

#[test]
fn difficult_paths_are_found_as_they_are() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/path/paths.toml");
    let file: File = toml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let cases = file.scenario.into_iter().flat_map(|scenario| {
        let families = if scenario.v4_only { &["-4"][..] } else { &["-4", "-6"] };
        families.iter().map(move |family| (scenario.clone(), *family))
    });
    let wrong = all(cases.collect(), |(scenario, family)| check(scenario, family));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(scenario: &Scenario, family: &str) -> Vec<String> {
    let arguments = format!("{} --rtt 20ms {family}", scenario.lab);
    let document = document(&arguments);
    let mut wrong = Vec::new();
    let mut compare = |what: &str, found: String, expected: String| {
        if found != expected {
            wrong.push(format!("{arguments}: {what} {found}, expected {expected}: {document:#}"));
        }
    };
    for (field, expected) in [("faults", &scenario.faults), ("changes", &scenario.changes)] {
        let mut expected = expected.clone();
        expected.sort();
        compare(field, format!("{:?}", told(&document, field)), format!("{expected:?}"));
    }
    let number = |hop: Option<u8>| hop.map_or_else(|| "null".to_owned(), |hop| hop.to_string());
    compare("proxy", document["proxy"].to_string(), number(scenario.proxy));
    compare("unstable_hop", document["unstable_hop"].to_string(), number(scenario.unstable));
    let finding = document["finding"].to_string();
    for text in &scenario.says {
        if !finding.contains(text) {
            wrong.push(format!("{arguments}: {text:?} is missing in {finding}"));
        }
    }
    wrong
}
