//! The tables of verdicts and causes in the README and the user's guide come from the manual.

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

/// Returns the table that begins with this head, up to the empty line after it.
fn table<'a>(text: &'a str, head: &str) -> &'a str {
    let start = text.find(head).unwrap_or_else(|| panic!("no table {head:?}"));
    let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end + 1);
    &text[start..end]
}

#[test]
fn tables_of_verdicts_and_causes_match_the_manual() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, head, wanted) in
        [("README.md", VERDICTS, verdicts()), ("tfo-client/README.md", CAUSES, causes())]
    {
        let path = workspace.join(file);
        let mut text = fs::read_to_string(&path).unwrap();
        if env::var_os("UPDATE_SNAPSHOTS").is_some() {
            text = text.replace(table(&text, head), &wanted);
            fs::write(&path, &text).unwrap();
        }
        let found = table(&text, head);
        assert!(
            found == wanted,
            "the table of {file} differs from tfo-core/src/diagnosis/manual; if that is intended, run the \
             test again with UPDATE_SNAPSHOTS=1\n--- {file}\n{found}\n--- manual\n{wanted}"
        );
    }
}
