//! The house that DESIGN describes: dependencies point down, and `unsafe` has one room.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with its floor. A room may use lower floors, and rooms of its own floor as long as
/// they don't use it back.
const FLOORS: &[(&str, u8)] = &[
    ("sys", 1),
    ("error", 1),
    ("uapi", 1),
    ("wire", 2),
    ("cookie", 2),
    ("cli", 2),
    ("socket", 3),
    ("host", 4),
    ("capture", 4),
    ("diagnosis", 5),
    ("probe", 6),
    ("lab", 7),
];

/// The rooms that may call the kernel.
const USERS_OF_SYS: &[&str] = &["sys", "socket", "host", "capture", "lab"];

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn sources() -> Vec<(String, PathBuf)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&src).unwrap();
                let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                found.push((first.trim_end_matches(".rs").to_owned(), path));
            }
        }
    }
    found.retain(|(room, _)| room != "lib");
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The rooms that a file names, without those that only its comments mention.
fn named_rooms(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.match_indices("crate::").map(|(at, word)| &line[at + word.len()..]))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .filter(|room| floor(room).is_some())
        .collect()
}

fn arrows() -> BTreeMap<(String, String), PathBuf> {
    let mut arrows = BTreeMap::new();
    for (room, path) in sources() {
        for target in named_rooms(&fs::read_to_string(&path).unwrap()) {
            if target != room {
                arrows.insert((room.clone(), target), path.clone());
            }
        }
    }
    arrows
}

#[test]
fn every_room_stands_on_a_floor() {
    for (room, path) in sources() {
        assert!(floor(&room).is_some(), "{} is in no known room", path.display());
    }
}

#[test]
fn no_arrow_points_up_and_rooms_of_a_floor_make_no_circle() {
    let arrows = arrows();
    assert!(arrows.len() > 10, "hardly any arrows were found: {arrows:?}");
    for ((from, to), path) in &arrows {
        assert!(floor(from) >= floor(to), "{} uses {to}, a floor above {from}", path.display());
        let back = arrows.get(&(to.clone(), from.clone()));
        assert!(back.is_none(), "{from} and {to} use each other: {path:?}, {back:?}");
    }
}

#[test]
fn only_the_rooms_that_call_the_kernel_name_sys_and_sys_knows_none_of_ours() {
    for ((from, to), path) in &arrows() {
        if to == "sys" {
            assert!(USERS_OF_SYS.contains(&from.as_str()), "{} names sys", path.display());
        }
        assert!(from != "sys" || to == "uapi", "{} knows {to}", path.display());
    }
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    for (room, path) in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let found = text.lines().any(|line| {
            !line.trim_start().starts_with("//") && line.contains("unsafe ") && line.contains('{')
        });
        assert!(!found || room == "sys", "{} has unsafe code", path.display());
    }
}

#[test]
fn the_guard_sees_an_arrow_and_passes_over_comments() {
    let text =
        "use crate::lab::Host;\n/// [`x`](crate::socket)\nfn f(_: crate::host::Counters) {}\n";
    let rooms = named_rooms(text);
    assert_eq!(rooms.into_iter().collect::<Vec<_>>(), ["host", "lab"]);
}
