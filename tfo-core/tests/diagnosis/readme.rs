//! The README's tables are those of the manual.

use std::path::Path;
use std::{env, fs};

use tfo_core::diagnosis::manual::Topic;

const VERDICTS: &str = "| `verdict` | meaning |\n| --- | --- |\n";
const CAUSES: &str = "| `cause` | what happened | what helps |\n| --- | --- | --- |\n";

fn verdicts() -> String {
    let mut table = VERDICTS.to_owned();
    for topic in Topic::all() {
        if let Topic::Outcome(outcome) = topic {
            table += &format!("| `{outcome}` | {} |\n", topic.page().summary());
        }
    }
    table
}

fn causes() -> String {
    let mut table = CAUSES.to_owned();
    for topic in Topic::all() {
        if let Topic::Cause(cause) = topic {
            let page = topic.page();
            table += &format!("| `{cause}` | {} | {} |\n", page.summary(), page.help());
        }
    }
    table
}

/// The table that begins with this head, up to the empty line after it.
fn table<'a>(readme: &'a str, head: &str) -> &'a str {
    let start = readme.find(head).unwrap_or_else(|| panic!("the README has no table {head:?}"));
    let end = readme[start..].find("\n\n").map_or(readme.len(), |end| start + end + 1);
    &readme[start..end]
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_manual() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    for (head, wanted) in [(VERDICTS, verdicts()), (CAUSES, causes())] {
        let mut readme = fs::read_to_string(&path).unwrap();
        if env::var_os("UPDATE_SNAPSHOTS").is_some() {
            readme = readme.replace(table(&readme, head), &wanted);
            fs::write(&path, &readme).unwrap();
        }
        let found = table(&readme, head);
        assert!(
            found == wanted,
            "the README's table differs from src/diagnosis/manual; if that is meant, run the test \
             once more with UPDATE_SNAPSHOTS=1\n--- README\n{found}\n--- manual\n{wanted}"
        );
    }
}
