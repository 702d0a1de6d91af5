//! The man page of a configuration file, made of the file that is shipped.
//!
//! The file is written for people: a comment precedes its key, and names its flag and variable at the end of a
//! line. A table follows its comments with aligned columns.

use super::Program;
use super::page::{Page, bold, escaped, italic};

/// File name and text of the page.
pub(super) fn of(program: &Program) -> (String, String) {
    let command = program.command.get_name();
    let version = program.command.get_version().unwrap_or_default();
    let name = format!("tfo-{}", program.config_name);
    let about = format!("configuration file of {command}");
    let mut page = Page::new(&name, "5", &format!("{command} {version}"), &about);
    page.heading("DESCRIPTION");
    page.paragraph(&format!(
        "{command} reads the file that --config names; else config/{0} in the current folder; else \
         /etc/tfo/{0}. The format is TOML. {command} generate config prints the file with every key at its default.",
        program.config_name
    ));
    let mut blocks = program.config.split("\n\n");
    if let Some(first) = blocks.next() {
        page.paragraph(&comments(first).join("\n"));
    }
    for block in blocks {
        add(&mut page, block);
    }
    page.heading("FILES");
    page.item(&italic(&format!("/etc/tfo/{}", program.config_name)), "for the whole host");
    page.heading("SEE ALSO");
    page.line(&format!("{}(1)", bold(command)));
    (format!("{name}.5"), page.into_text())
}

fn comments(block: &str) -> Vec<&str> {
    block.lines().filter_map(comment).collect()
}

fn comment(line: &str) -> Option<&str> {
    let text = line.strip_prefix('#')?;
    Some(text.strip_prefix(' ').unwrap_or(text))
}

/// Adds what is between two empty lines: tables, keys, and comments before or after them.
fn add(page: &mut Page, block: &str) {
    let mut before: Vec<&str> = Vec::new();
    for line in block.lines() {
        if let Some(text) = comment(line) {
            before.push(text);
        } else if line.starts_with('[') {
            page.heading(line);
        } else if !line.is_empty() {
            // A comment between two keys belongs to the one below it.
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            page.line(".TP");
            page.line(&format!("{} = {}", bold(key.trim()), escaped(value.trim())));
            Text::of(&before).add_to(page);
            before.clear();
        }
    }
    if !before.is_empty() {
        page.line(".PP");
        Text::of(&before).add_to(page);
    }
}

/// A comment, taken apart.
#[derive(Debug, Default, PartialEq)]
struct Text<'a> {
    /// Running text.
    lines: Vec<&'a str>,
    /// Rows of a table: a word, and what it means; deeper rows belong to the one above.
    rows: Vec<Row<'a>>,
    /// Running text below the table.
    after: Vec<&'a str>,
    /// Flags and variables that set the same.
    set_by: Vec<&'a str>,
}

#[derive(Debug, Default, PartialEq)]
struct Row<'a> {
    word: &'a str,
    deep: bool,
    lines: Vec<&'a str>,
    /// Flags and variables that set the key of this row.
    set_by: Vec<&'a str>,
}

impl Row<'_> {
    fn is_key(&self) -> bool {
        !self.deep && !is_quoted(self.word)
    }
}

impl<'a> Text<'a> {
    fn of(comments: &[&'a str]) -> Self {
        let mut text = Self::default();
        for line in comments {
            let (line, set_by) = without_setters(line);
            let before = text.rows.len();
            text.line(line);
            // Those beside a table are for the key of the row, which a row of a value stands below.
            let current = text.rows.len().min(before + 1);
            match text.rows[..current].iter_mut().rev().find(|row| row.is_key()) {
                Some(row) => row.set_by.extend(set_by),
                None => text.set_by.extend(set_by),
            }
        }
        text
    }

    fn line(&mut self, line: &'a str) {
        let continues = line.starts_with("  ");
        let trimmed = line.trim_start();
        match columns(trimmed) {
            Some((word, rest)) => {
                let deep = continues && self.has_names();
                self.rows.push(Row { word, deep, ..Row::default() });
                // `service   "mirror"  what it does`: the first value beside its key.
                match columns(rest).filter(|(value, _)| is_quoted(value)) {
                    Some((value, rest)) => {
                        let lines = vec![rest];
                        self.rows.push(Row { word: value, deep: true, lines, ..Row::default() });
                    }
                    None => self.push(rest),
                }
            }
            None if trimmed.is_empty() => {}
            None if continues => self.push(trimmed),
            None if self.rows.is_empty() => self.lines.push(trimmed),
            None => self.after.push(trimmed),
        }
    }

    /// Whether the table's first column has keys, so that quoted words are values of one of them.
    fn has_names(&self) -> bool {
        self.rows.iter().any(Row::is_key)
    }

    fn push(&mut self, line: &'a str) {
        match self.rows.last_mut() {
            Some(row) => row.lines.push(line),
            None => self.lines.push(line),
        }
    }

    fn add_to(&self, page: &mut Page) {
        page.text(&self.lines.join("\n"));
        if !self.rows.is_empty() {
            page.indented(|page| {
                for row in &self.rows {
                    page.line(if row.deep { ".TP 16" } else { ".TP" });
                    page.line(&bold(row.word));
                    page.text(&row.lines.join("\n"));
                    if !row.set_by.is_empty() {
                        page.text(&format!("Also set by {}.", row.set_by.join(", ")));
                    }
                }
            });
        }
        if !self.after.is_empty() {
            page.line(".IP");
            page.text(&self.after.join("\n"));
        }
        if !self.set_by.is_empty() {
            page.line(".IP");
            page.text(&format!("Also set by {}.", self.set_by.join(", ")));
        }
    }
}

fn is_quoted(word: &str) -> bool {
    word.starts_with('"')
}

/// `word   text` with two spaces or more between them.
fn columns(line: &str) -> Option<(&str, &str)> {
    let (word, rest) = line.split_once("  ")?;
    (!word.is_empty() && !word.contains(' ')).then_some((word, rest.trim_start()))
}

/// A line, and the flags and the variable at its end.
fn without_setters(line: &str) -> (&str, Option<&str>) {
    let last = line.rfind(' ').map_or(0, |space| space + 1);
    if !line.get(last..).is_some_and(|word| word.starts_with("TFO_")) {
        return (line, None);
    }
    match line.rfind("  ") {
        Some(gap) => (line[..gap].trim_end(), Some(line[gap..].trim())),
        None => ("", Some(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_with_flag_and_variable_is_taken_apart() {
        let text =
            Text::of(&["Connections to make.            -n, TFO_CLIENT_COUNT", "Any number."]);
        assert_eq!(text.lines, ["Connections to make.", "Any number."]);
        assert_eq!(text.set_by, ["-n, TFO_CLIENT_COUNT"]);
    }

    #[test]
    fn table_of_values_becomes_rows() {
        let text = Text::of(&[
            "How it goes.",
            "  \"auto\"      as fits best,",
            "              that is",
            "  \"off\"       never",
        ]);
        let rows: Vec<_> = text.rows.iter().map(|row| (row.word, row.lines.join(" "))).collect();
        assert_eq!(
            rows,
            [("\"auto\"", "as fits best, that is".to_owned()), ("\"off\"", "never".to_owned())]
        );
    }

    #[test]
    fn table_of_keys_has_values_below_a_key() {
        let text = Text::of(&[
            "port      1 to 65535.               -p, TFO_SERVER_PORT",
            "service   \"echo\"   sends back",
            "          \"discard\"  closes",
            "                                    --service, TFO_SERVER_SERVICE",
        ]);
        let rows: Vec<_> = text.rows.iter().map(|row| (row.word, row.deep)).collect();
        assert_eq!(
            rows,
            [("port", false), ("service", false), ("\"echo\"", true), ("\"discard\"", true)]
        );
        let set_by: Vec<_> = text.rows.iter().map(|row| row.set_by.concat()).collect();
        assert_eq!(set_by, ["-p, TFO_SERVER_PORT", "--service, TFO_SERVER_SERVICE", "", ""]);
    }
}
