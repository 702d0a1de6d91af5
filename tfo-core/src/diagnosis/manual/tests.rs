use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::*;

#[test]
fn every_verdict_and_cause_has_its_page_with_all_four_sections() {
    for topic in Topic::all() {
        let page = topic.page();
        assert!(
            page.markdown().starts_with(&format!("# {topic}\n\n")),
            "{topic}: the page is titled by its word"
        );
        for line in [page.summary(), page.help()] {
            assert!(!line.is_empty(), "{topic}: sentence and help come before the sections");
            assert!(
                !line.ends_with('.') && !line.contains('|'),
                "{topic}: it fits a table: {line}"
            );
        }
        let titles: Vec<_> = page.sections().map(|(title, _)| title).collect();
        let wanted: Vec<_> = Section::ALL.iter().map(|section| section.title()).collect();
        assert_eq!(titles, wanted, "{topic}: these sections in this order, and no other");
        for section in Section::ALL {
            assert!(page.section(*section).len() > 40, "{topic}: {section:?} says something");
        }
    }
}

#[test]
fn each_page_draws_its_packets_and_gives_commands() {
    for topic in Topic::all() {
        let wire = topic.page().section(Section::OnTheWire);
        assert!(wire.starts_with("```\n client "), "{topic}: the ladder comes first");
        let ladder = wire.split("```").nth(1).unwrap();
        let rungs: Vec<_> = ladder.trim_matches('\n').lines().skip(1).collect();
        assert!(rungs.len() >= 2, "{topic}: {ladder}");
        let width = rungs[0].len();
        for rung in rungs {
            assert!(rung.is_ascii(), "{topic}: any terminal shows it: {rung}");
            assert_eq!(rung.len(), width, "{topic}: both hosts' lines are straight: {rung}");
            assert!(rung.starts_with(' ') && rung.ends_with(['|', ':']), "{topic}: {rung}");
        }
        let todo = topic.page().section(Section::WhatToDo);
        assert!(todo.contains("```\n"), "{topic}: what to do has a command to paste");
    }
}

#[test]
fn a_terminal_of_80_columns_shows_all_of_it() {
    for topic in Topic::all() {
        for section in Section::ALL {
            for line in topic.page().section(*section).lines() {
                assert!(line.chars().count() <= 78, "{topic}: {line}");
                assert_eq!(line, line.trim_end(), "{topic}: no blanks at the end");
            }
        }
    }
}

#[test]
fn words_are_found_and_mean_one_thing() {
    let words: HashSet<_> = Topic::all().map(Topic::as_str).collect();
    let all = Outcome::ALL.len() + Cause::ALL.len() + FAULTS.len();
    assert_eq!(words.len(), all, "no word is used twice");
    for topic in Topic::all() {
        assert_eq!(Topic::named(topic.as_str()), Some(topic));
    }
    assert_eq!(Topic::named("fast"), None);
}

#[test]
fn no_file_lies_there_unused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnosis/manual");
    let faults = fs::read_dir(folder.join("faults")).unwrap();
    for entry in fs::read_dir(folder).unwrap().chain(faults) {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(word) = name.strip_suffix(".md") {
            assert!(
                Topic::named(word).is_some(),
                "{name} explains no verdict, no cause and no fault"
            );
        }
    }
}
