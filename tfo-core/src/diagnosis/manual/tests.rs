use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::diagnosis::rules::{RULES, Sign, candidates};

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

/// The causes that need no rule: a bit, an errno or a setting shows each of them directly.
const DIRECT: &[Cause] = &[
    Cause::DisabledByConfig,
    Cause::ClientDisabled,
    Cause::PausedByBlackhole,
    Cause::PausedByProgram,
    Cause::Unreachable,
];

#[test]
fn every_cause_has_a_proof_or_is_a_broader_word_or_needs_none() {
    for cause in Cause::ALL {
        let page = Topic::Cause(*cause).page();
        let (proofs, broader) = (page.proofs(), page.broader_than());
        let symptoms: HashSet<_> =
            RULES.iter().filter(|rule| rule.cause == *cause).map(|rule| rule.symptom).collect();
        assert_eq!(proofs.len(), symptoms.len(), "{cause}: a proof for each symptom");
        let none = proofs.is_empty() && broader.is_empty();
        assert_eq!(none, DIRECT.contains(cause), "{cause}");
        for broader in broader {
            assert!(broader.causes.len() > 1, "{cause}: {broader:?}");
        }
    }
}

#[test]
fn each_proof_agrees_with_the_table() {
    let words = |causes: Vec<Cause>| causes.into_iter().collect::<HashSet<_>>();
    for topic in Topic::all() {
        for Proof { symptom, always, ways, together, leaves } in topic.page().proofs() {
            let left = |facts: Vec<(Sign, bool)>| {
                let read = |sign| facts.iter().find(|(known, _)| *known == sign).map(|(_, is)| *is);
                words(candidates(symptom, read))
            };
            let pair = |fact: &Fact| (fact.sign, fact.there);
            let always_known: Vec<_> = always.iter().map(pair).collect();
            let each: Vec<Vec<_>> = if ways.is_empty() {
                vec![always_known.clone()]
            } else {
                ways.iter()
                    .map(|way| {
                        [&always_known[..], &way.iter().map(pair).collect::<Vec<_>>()].concat()
                    })
                    .collect()
            };
            let rules = RULES
                .iter()
                .filter(|rule| rule.symptom == symptom && Topic::Cause(rule.cause) == topic);
            assert_eq!(rules.count(), each.len(), "{topic}: a way for each rule");

            let mut remaining = HashSet::new();
            for facts in each {
                remaining.extend(left(facts));
            }
            let mut named: Vec<Cause> = leaves.iter().map(|rival| rival.cause).collect();
            named.extend(Cause::ALL.iter().filter(|cause| Topic::Cause(**cause) == topic));
            assert_eq!(remaining, words(named.clone()), "{topic}: what its facts leave");

            for fact in &always {
                let without = left(vec![pair(fact)]);
                assert!(
                    fact.excludes.iter().all(|cause| !without.contains(cause)),
                    "{topic}: {fact:?}"
                );
                let otherwise = left(vec![(fact.sign, !fact.there)]);
                assert!(
                    !otherwise.iter().any(|cause| Topic::Cause(*cause) == topic),
                    "{topic}: {fact:?}"
                );
            }
            for Rival { cause, excluded_by } in &leaves {
                let known = |fact: &(Sign, bool)| always_known.contains(fact);
                let mut rules =
                    RULES.iter().filter(|rule| (rule.symptom, rule.cause) == (symptom, *cause));
                let same = rules.any(|rule| rule.requires.iter().all(known));
                assert_eq!(
                    excluded_by.is_empty(),
                    same,
                    "{topic}: whether a sign of {cause} differs"
                );
                for fact in excluded_by {
                    let more = left([&always_known[..], &[*fact]].concat());
                    assert!(!more.contains(cause), "{topic}: {fact:?} excludes {cause}");
                }
            }
            named.extend(always.into_iter().flat_map(|fact| fact.excludes));
            named.extend(together);
            assert_eq!(named.len(), left(vec![]).len(), "{topic}: each cause once: {named:?}");
            assert_eq!(words(named), left(vec![]), "{topic}: each cause of the symptom");
        }
    }
}
