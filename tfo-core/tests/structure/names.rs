//! The files and names that `CONTRIBUTING.md` quotes exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{CRATES, workspace};

/// Collects the paths of a folder's files, relative to the workspace, and the text of its sources.
fn read(folder: &Path, paths: &mut Vec<String>, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, paths, sources);
            continue;
        }
        if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            *sources += &fs::read_to_string(&path).unwrap();
        }
        paths.push(path.strip_prefix(workspace()).unwrap().to_string_lossy().into_owned());
    }
}

/// Returns the code in backticks, without code blocks.
fn quoted(text: &str) -> BTreeSet<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// Returns whether a path, or the end of one, is that of a file or folder.
fn exists(paths: &[String], quoted: &str) -> bool {
    let wanted = format!("/{}", quoted.trim_end_matches('/'));
    paths.iter().any(|path| {
        let path = format!("/{path}");
        path.ends_with(&wanted)
            || path.ends_with(&format!("{wanted}.rs"))
            || path.contains(&format!("{wanted}/"))
    })
}

#[test]
fn names_in_contributing_exist() {
    let text = fs::read_to_string(workspace().join("CONTRIBUTING.md")).unwrap();
    let (mut paths, mut sources) = (vec!["Cargo.toml".to_owned()], String::new());
    for folder in CRATES.into_iter().chain(["config", ".ci"]) {
        read(&workspace().join(folder), &mut paths, &mut sources);
    }
    let words: BTreeSet<_> =
        sources.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').collect();
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut missing = Vec::new();
    for quoted in quoted(&text) {
        let extension = Path::new(quoted).extension();
        let is_file = extension.is_some_and(|extension| extension == "rs" || extension == "toml");
        let is_path = quoted.contains('/') || is_file;
        let found = if quoted.contains(['<', '*', ' ', '\n', '('])
            || quoted.starts_with('/')
            || quoted.ends_with(':')
        {
            true
        } else if is_path {
            exists(&paths, quoted)
        } else if quoted.chars().all(is_name) {
            quoted
                .split("::")
                .all(|name| words.contains(name) || name == "subject_condition_result")
        } else {
            true
        };
        if !found {
            missing.push(quoted);
        }
    }
    assert!(missing.is_empty(), "CONTRIBUTING.md names what does not exist: {missing:#?}");
}
