//! The structure of all three crates is the one that `CONTRIBUTING.md` draws: a part uses only parts below it, no
//! two parts use each other, and `unsafe` is in one folder.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod names;
mod public_api;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use source::{Crate, Module};

const CRATES: [&str; 3] = ["tfo-core", "tfo-server", "tfo-client"];
/// A file with more lines, without its tests, has more than one subject.
const MAX_LINES: usize = 500;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(name: &str) -> Crate {
    Crate::read(&workspace().join(name).join("src"))
}

/// Returns the parts of a crate from top to bottom: the first column of its table in CONTRIBUTING.md.
fn drawn(name: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace().join("CONTRIBUTING.md")).unwrap();
    let heading = format!("### {name}\n");
    let (_, section) = text.split_once(&heading).expect("a heading for each crate");
    let section = section.split("\n#").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(|cell| cell.trim_end_matches('/').trim_end_matches(".rs").to_owned()).collect()
}

#[test]
fn each_part_is_drawn_and_each_drawn_part_exists() {
    for name in CRATES {
        let files = sources(name).files;
        let parts: BTreeSet<_> = files.keys().filter_map(|module| module.first()).collect();
        let drawn = drawn(name);
        assert_eq!(parts, drawn.iter().collect(), "{name}: the sources, and the table");
    }
}

#[test]
fn no_part_uses_a_part_above_it() {
    for name in CRATES {
        let (sources, drawn) = (sources(name), drawn(name));
        let place = |part: &String| drawn.iter().position(|drawn| drawn == part);
        let mut arrows = 0;
        for (module, file) in sources.files.iter().filter(|(module, _)| !module.is_empty()) {
            for used in sources.uses(module) {
                arrows += 1;
                let upwards = place(&used[0]) < place(&module[0]);
                assert!(
                    !upwards,
                    "{} uses {}, which is above",
                    file.path.display(),
                    used.join("/")
                );
            }
        }
        assert!(arrows > 50, "{name}: hardly any use was found");
    }
}

/// Returns, for each folder, what each of its files and folders uses of the others.
fn arrows(sources: &Crate) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
    let mut folders: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for module in sources.files.keys() {
        for used in sources.uses(module) {
            let common = module.iter().zip(&used).take_while(|(a, b)| a == b).count();
            let (from, to) = (module[common].clone(), used[common].clone());
            let folder = folders.entry(module[..common].to_vec()).or_default();
            folder.entry(from).or_default().insert(to);
        }
    }
    folders
}

/// Returns a circle, if there is one.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'a>(
        arrows: &'a BTreeMap<String, BTreeSet<String>>,
        at: &'a String,
        way: &mut Vec<&'a String>,
        done: &mut BTreeSet<&'a String>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = way.iter().position(|passed| *passed == at) {
            return Some(way[begin..].iter().map(|part| (*part).clone()).collect());
        }
        if !done.insert(at) {
            return None;
        }
        way.push(at);
        let found =
            arrows.get(at).into_iter().flatten().find_map(|next| walk(arrows, next, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|part| walk(arrows, part, &mut Vec::new(), &mut done))
}

#[test]
fn no_two_files_and_no_two_folders_use_each_other() {
    for name in CRATES {
        for (folder, arrows) in arrows(&sources(name)) {
            let circle = circle(&arrows);
            assert_eq!(circle, None, "{name}/src/{}: each uses the next", folder.join("/"));
        }
    }
}

#[test]
fn unsafe_is_only_in_sys_and_sys_uses_no_other_part() {
    for name in CRATES {
        let sources = sources(name);
        for (module, file) in &sources.files {
            let in_sys = name == "tfo-core" && module.first().is_some_and(|part| part == "sys");
            let words = file.code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let has_unsafe = words.into_iter().any(|word| word == "unsafe");
            assert!(in_sys || !has_unsafe, "{} has unsafe code", file.path.display());
            let foreign = sources.uses(module).into_iter().find(|used| used[0] != "uapi");
            let foreign = foreign.filter(|used| in_sys && used[0] != "sys");
            assert_eq!(foreign, None, "{} uses it", file.path.display());
        }
    }
}

#[test]
fn no_file_exceeds_500_lines() {
    for name in CRATES {
        for file in sources(name).files.values() {
            let lines = fs::read_to_string(&file.path).unwrap();
            let tests = lines.find("#[cfg(test)]\nmod tests {").unwrap_or(lines.len());
            let count = lines[..tests].lines().count();
            assert!(count <= MAX_LINES, "{}: {count} lines", file.path.display());
        }
    }
}

#[test]
fn circle_is_found_anywhere() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circle(&arrows)
    };
    assert_eq!(arrows(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]), None);
    let found = arrows(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]).unwrap();
    assert_eq!(found, ["b", "c", "d"]);
}
