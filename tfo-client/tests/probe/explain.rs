//! `tfo-client explain`.

use std::process::Command;

use tfo_core::diagnosis::manual::{Section, Topic};
use tfo_core::diagnosis::rules::RULES;
use tfo_core::diagnosis::{Cause, Outcome};
use tfo_core::lab::{Finished, Program, isolated};

use crate::harness::{Lab, json};

fn explain(lab: &Lab, arguments: &[&str]) -> Finished {
    lab.probe(&[&["-q", "explain"], arguments].concat())
}

#[test]
fn every_verdict_and_cause_has_a_page_in_80_columns() {
    isolated(|| {
        let lab = Lab::new();
        let outcomes = Outcome::ALL.iter().map(|outcome| outcome.as_str());
        for word in outcomes.chain(Cause::ALL.iter().map(|cause| cause.as_str())) {
            let ended = explain(&lab, &[word]);
            assert_eq!(ended.code, Some(0), "{word}: {}", ended.err);
            assert!(ended.out.starts_with(&format!("{word}, a ")), "{}", ended.out);
            for section in Section::ALL {
                let title = format!("\n{}\n", section.title());
                assert!(
                    ended.out.contains(&title),
                    "{word}: {section:?} is missing: {}",
                    ended.out
                );
            }
            for line in ended.out.lines() {
                assert!(line.chars().count() <= 80, "{word}: {line}");
            }
            let flat = ended.out.replace("\n  ", " ").replace('\n', " ");
            let rules = RULES.iter().filter(|rule| rule.cause.as_str() == word);
            for (sign, there) in rules.flat_map(|rule| rule.requires) {
                let fact = sign.in_words(*there);
                assert!(flat.contains(fact), "{word} requires: {fact}: {}", ended.out);
            }
        }
    });
}

#[test]
fn explain_without_a_word_lists_all() {
    isolated(|| {
        let lab = Lab::new();
        let ended = explain(&lab, &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for topic in Topic::all() {
            let row = ended.out.lines().find(|line| line.starts_with(&format!("  {topic} ")));
            assert!(row.is_some(), "{topic}: {}", ended.out);
        }
    });
}

#[test]
fn unknown_word_is_status_2_with_a_suggestion() {
    isolated(|| {
        let lab = Lab::new();
        for (word, hint) in [
            ("option-striped", "did you mean `option-stripped`?"),
            ("fastopen", "did you mean `fast-open`?"),
            ("queue", "did you mean `queue-full` or `accept-queue-full`?"),
            ("bad-luck", "list all of them: tfo-client explain"),
        ] {
            let ended = explain(&lab, &[word]);
            assert_eq!(ended.code, Some(2), "{word}");
            assert_eq!(ended.out, "", "{word}");
            let wanted = format!("error: unknown verdict, cause or fault \"{word}\"; {hint}\n");
            assert_eq!(ended.err, wanted);
        }
        let ended = explain(&lab, &["fall\nback\u{1b}[31m"]);
        assert_eq!(ended.err.lines().count(), 1, "a word can't forge a line: {:?}", ended.err);
        assert!(!ended.err.contains('\u{1b}'), "or control a terminal: {:?}", ended.err);
    });
}

#[test]
fn json_contains_the_same_pages() {
    isolated(|| {
        let lab = Lab::new();
        let one = json(&explain(&lab, &["queue-full", "-o", "json"]).out);
        assert_eq!(one["schema"], 1);
        assert_eq!(one["pages"].as_array().unwrap().len(), 1, "{one}");
        let page = &one["pages"][0];
        assert_eq!((&page["word"], &page["kind"]), (&"queue-full".into(), &"cause".into()));
        for field in ["summary", "help", "on_the_wire", "evidence", "who_does_it", "what_to_do"] {
            assert!(!page[field].as_str().unwrap().is_empty(), "{field}: {page}");
        }
        let all = json(&explain(&lab, &["-o", "json"]).out);
        assert_eq!(all["pages"].as_array().unwrap().len(), Topic::all().count(), "{all}");
    });
}

#[test]
fn probe_names_the_page_unless_fast_open_was_used() {
    isolated(|| {
        let lab = Lab::new();
        lab.set_server_bits(1);
        let Some(_server) = lab.serve_all(&[]) else { return };
        let ended = lab.probe(&[]);
        let last = ended.out.lines().last();
        assert_eq!(last, Some("More: tfo-client explain server-disabled"), "{}", ended.out);
        lab.set_server_bits(3);
        let ended = lab.probe(&["-n", "1"]);
        let last = ended.out.lines().last();
        assert_eq!(last, Some("More: tfo-client explain cookie-granted"), "{}", ended.out);
        let ended = lab.probe(&[]);
        assert_eq!(ended.code, Some(0), "{}", ended.out);
        assert!(!ended.out.contains("explain"), "{}", ended.out);
    });
}

#[test]
fn boxes_named_on_a_page_produce_its_cause() {
    isolated(|| {
        let lab = Lab::new();
        let config = lab.file("client.toml", "");
        let mut started = Vec::new();
        for topic in Topic::all() {
            let todo = topic.page().section(Section::WhatToDo);
            let Some(command) = todo.lines().find(|line| line.contains("lab --box")) else {
                continue;
            };
            let words = command.strip_prefix("tfo-client ").unwrap().split(' ');
            let arguments: Vec<_> = words.chain(["-q", "-o", "json"]).collect();
            let mut client = Command::new(env!("CARGO_BIN_EXE_tfo-client"));
            client.args(&arguments).arg("--config").arg(&config);
            let program = Program::start(&lab.client, client).unwrap();
            started.push((topic, command.to_owned(), program));
        }
        assert!(started.len() >= 8, "only {} pages name boxes", started.len());
        for (topic, command, program) in started {
            let document = json(&program.finish().out);
            assert_eq!(document["summary"]["cause"], topic.as_str(), "{command}: {document}");
        }
    });
}
