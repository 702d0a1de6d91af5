//! The manual, as text for a terminal and as JSON.

use anstyle::Style;
use serde::Serialize;
use tfo_core::cli::value::Format;
use tfo_core::diagnosis::manual::{Page, Section, Topic};

use crate::output;
use crate::prose::{WIDTH, wrap};

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
            let summary = break_lines(topic.page().summary(), WIDTH - WORD - 4).join(&hanging);
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
    }
    text
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
        }
    };
    output::json(&Document { schema: 1, pages: topics.into_iter().map(entry).collect() })
}

#[cfg(test)]
mod tests {
    use tfo_core::diagnosis::Cause;

    use super::*;

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
