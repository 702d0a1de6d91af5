//! The manual, as text for a terminal and as JSON.

use anstyle::Style;
use serde::Serialize;
use tfo_core::cli::value::Format;
use tfo_core::diagnosis::Cause;
use tfo_core::diagnosis::manual::{Fact, Page, Proof, Section, Topic};

use crate::output;
use crate::prose::{width, wrap};

/// Width of the column with the words; the longest is `syn-ack-option-stripped`.
const WORD: usize = 23;

#[derive(Serialize)]
struct Document {
    schema: u32,
    pages: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    word: &'static str,
    /// `verdict`, `cause` or `fault`.
    kind: &'static str,
    summary: &'static str,
    help: &'static str,
    on_the_wire: &'static str,
    evidence: &'static str,
    who_does_it: &'static str,
    what_to_do: &'static str,
    /// What the rules require of a cause, by symptom.
    proofs: Vec<ProofEntry>,
    /// What a broader word stands for, by symptom.
    broader_than: Vec<BroaderEntry>,
}

#[derive(Serialize)]
struct ProofEntry {
    symptom: &'static str,
    requires: Vec<FactEntry>,
    and_one_of: Vec<Vec<&'static str>>,
    together_exclude: Vec<&'static str>,
    leaves: Vec<RivalEntry>,
}

#[derive(Serialize)]
struct RivalEntry {
    cause: &'static str,
    excluded_by: Vec<&'static str>,
}

#[derive(Serialize)]
struct FactEntry {
    fact: &'static str,
    excludes: Vec<&'static str>,
}

#[derive(Serialize)]
struct BroaderEntry {
    symptom: &'static str,
    causes: Vec<&'static str>,
}

/// Lists all verdicts, causes and faults, one line each; as JSON, with their pages.
pub(super) fn contents(format: Format) -> String {
    match format {
        Format::Json => document(Topic::all()),
        Format::Text => list(bold()),
    }
}

/// Returns the page of one of them.
pub(super) fn page(format: Format, topic: Topic) -> String {
    match format {
        Format::Json => document([topic]),
        Format::Text => text(topic.page(), bold()),
    }
}

fn bold() -> Style {
    if output::colour() { Style::new().bold() } else { Style::new() }
}

fn kind(topic: Topic) -> &'static str {
    match topic {
        Topic::Outcome(_) => "verdict",
        Topic::Fault(_) => "fault",
        _ => "cause",
    }
}

fn list(bold: Style) -> String {
    let hanging = format!("\n{:width$}", "", width = WORD + 4);
    let mut text = String::new();
    for (title, wanted) in [
        ("Verdicts: what happened to a connection", "verdict"),
        ("Causes: why it happened", "cause"),
        ("Faults: what tfo-client path finds between two hops", "fault"),
    ] {
        text += &format!("{bold}{title}{bold:#}\n");
        for topic in Topic::all().filter(|topic| kind(*topic) == wanted) {
            let summary = break_lines(topic.page().summary(), width() - WORD - 4).join(&hanging);
            text += &format!("  {topic:<WORD$}  {summary}\n");
        }
        text.push('\n');
    }
    text + "For the packets, the evidence and the remedy: tfo-client explain WORD\n"
}

/// Breaks a text between words into lines of at most `width` columns.
fn break_lines(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn text(page: Page, bold: Style) -> String {
    let topic = page.topic();
    let mut text = format!("{bold}{topic}{bold:#}, a {}\n", kind(topic));
    text += &wrap(&sentence(page.summary()));
    for section in Section::ALL {
        text += &format!("\n{bold}{}{bold:#}\n", section.title());
        let mut in_block = false;
        for line in page.section(*section).lines() {
            if line.starts_with("```") {
                in_block = !in_block;
                continue;
            }
            text += if in_block { "  " } else { "" };
            text += line;
            text.push('\n');
        }
        if *section == Section::Evidence {
            text += &rules(page, bold);
        }
    }
    text
}

/// What the table of rules says of a cause; empty where there is no rule.
fn rules(page: Page, bold: Style) -> String {
    let (proofs, broader) = (page.proofs(), page.broader_than());
    let mut text = String::new();
    for broader in &broader {
        text += &format!("\n{bold}Broader word{bold:#}\n");
        text += &wrap(&format!(
            "If {}, it is used while several of these causes remain: {}.",
            broader.symptom.as_str(),
            names(&broader.causes)
        ));
    }
    for proof in &proofs {
        text += &format!("\n{bold}Proof{bold:#}\n");
        text += &self::proof(proof);
    }
    text
}

fn proof(proof: &Proof) -> String {
    let mut text = wrap(&format!(
        "If {}: stated once every other cause of that is excluded. The opposite of any fact below excludes it.",
        proof.symptom.as_str()
    ));
    for fact in &proof.always {
        text += &item(&match fact.excludes.as_slice() {
            [] => fact.as_str().to_owned(),
            excluded => format!("{} (excludes {})", fact.as_str(), names(excluded)),
        });
    }
    for (number, way) in (1..).zip(&proof.ways) {
        let facts: Vec<_> = way.iter().map(Fact::as_str).collect();
        let head = if number == 1 { "either" } else { "or" };
        text += &item(&format!("{head}: {}", facts.join("; ")));
    }
    if !proof.together.is_empty() {
        text += &wrap(&format!("Together they exclude {}.", names(&proof.together)));
    }
    for rival in &proof.leaves {
        let by: Vec<_> =
            rival.excluded_by.iter().map(|(sign, there)| sign.in_words(*there)).collect();
        text += &wrap(&match by.as_slice() {
            [] => format!("They leave {}, which leaves no sign that differs.", rival.cause),
            by => {
                format!("They leave {}, which is excluded by: {}.", rival.cause, by.join(", or "))
            }
        });
    }
    text
}

fn item(text: &str) -> String {
    let lines = break_lines(text, width() - 2);
    format!("- {}\n", lines.join("\n  "))
}

fn words(causes: &[Cause]) -> Vec<&'static str> {
    causes.iter().map(|cause| cause.as_str()).collect()
}

fn names(causes: &[Cause]) -> String {
    words(causes).join(", ")
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

fn document(topics: impl IntoIterator<Item = Topic>) -> String {
    let entry = |topic: Topic| {
        let page = topic.page();
        Entry {
            word: topic.as_str(),
            kind: kind(topic),
            summary: page.summary(),
            help: page.help(),
            on_the_wire: page.section(Section::OnTheWire),
            evidence: page.section(Section::Evidence),
            who_does_it: page.section(Section::WhoDoesIt),
            what_to_do: page.section(Section::WhatToDo),
            proofs: page.proofs().iter().map(proof_entry).collect(),
            broader_than: page
                .broader_than()
                .iter()
                .map(|broader| BroaderEntry {
                    symptom: broader.symptom.as_str(),
                    causes: words(&broader.causes),
                })
                .collect(),
        }
    };
    output::json(&Document { schema: 1, pages: topics.into_iter().map(entry).collect() })
}

fn proof_entry(proof: &Proof) -> ProofEntry {
    let requires = proof.always.iter();
    ProofEntry {
        symptom: proof.symptom.as_str(),
        requires: requires
            .map(|fact| FactEntry { fact: fact.as_str(), excludes: words(&fact.excludes) })
            .collect(),
        and_one_of: proof.ways.iter().map(|way| way.iter().map(Fact::as_str).collect()).collect(),
        together_exclude: words(&proof.together),
        leaves: proof
            .leaves
            .iter()
            .map(|rival| RivalEntry {
                cause: rival.cause.as_str(),
                excluded_by: rival
                    .excluded_by
                    .iter()
                    .map(|(sign, there)| sign.in_words(*there))
                    .collect(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prose::WIDTH;

    #[test]
    fn list_has_each_word_and_fits_80_columns() {
        let list = list(Style::new());
        for topic in Topic::all() {
            assert!(list.contains(&format!("\n  {topic} ")), "{topic} is missing:\n{list}");
            assert!(topic.as_str().len() <= WORD, "{topic} is wider than its column");
        }
        assert!(list.lines().all(|line| line.chars().count() <= WIDTH), "{list}");
        let causes = list.split("Causes: why it happened\n").nth(1).unwrap();
        let rows: Vec<_> = causes.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), Cause::ALL.len(), "expected one line per cause:\n{causes}");
    }

    #[test]
    fn page_shows_sections_without_markdown_in_80_columns() {
        for topic in Topic::all() {
            let text = text(topic.page(), Style::new());
            assert!(!text.contains("```") && !text.contains("\n#"), "{text}");
            for section in Section::ALL {
                assert!(
                    text.contains(&format!("\n\n{}\n", section.title())),
                    "{section:?}: {text}"
                );
            }
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        }
    }
}
