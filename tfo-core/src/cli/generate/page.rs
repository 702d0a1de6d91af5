//! The pieces of man pages: `man(7)` with the escapes of `groff_man_style(7)`.

/// Lines of a page.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Starts a page of this name and section.
    pub(super) fn new(name: &str, section: &str, source: &str, about: &str) -> Self {
        let mut page = Self::default();
        let title = format!(
            "{} {section} \"\" \"{}\" \"TCP Fast Open\"",
            escaped(name).to_uppercase(),
            escaped(source)
        );
        page.line(&format!(".TH {title}"));
        page.heading("NAME");
        page.line(&format!("{} \\- {}", escaped(name), escaped(about)));
        page
    }

    pub(super) fn heading(&mut self, heading: &str) {
        self.line(&format!(".SH {}", quoted(heading)));
    }

    /// Adds a paragraph of running text.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.line(".PP");
        self.text(text);
    }

    /// Adds an item: a tag that [`bold`] and the like have made, and its text.
    pub(super) fn item(&mut self, tag: &str, text: &str) {
        self.line(".TP");
        self.line(tag);
        self.text(text);
    }

    /// Indents what `within` adds.
    pub(super) fn indented(&mut self, within: impl FnOnce(&mut Self)) {
        self.line(".RS");
        within(self);
        self.line(".RE");
    }

    /// Adds lines as they are.
    pub(super) fn example<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        self.line(".PP");
        self.line(".nf");
        for line in lines {
            self.text(line);
        }
        self.line(".fi");
    }

    /// Adds running text to the current paragraph or item.
    pub(super) fn text(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&at_start(&escaped(line)));
        }
    }

    /// Adds a line of `man(7)` source.
    pub(super) fn line(&mut self, line: &str) {
        self.0 += line;
        self.0.push('\n');
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Text in bold, escaped.
pub(super) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// Text in italics, escaped.
pub(super) fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escaped(text))
}

/// Text whose characters stand for themselves, so that commands can be copied from the page.
pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, c| {
        match c {
            '\\' => line += "\\e",
            '-' => line += "\\-",
            '\'' => line += "\\(aq",
            '`' => line += "\\(ga",
            '^' => line += "\\(ha",
            '~' => line += "\\(ti",
            _ => line.push(c),
        }
        line
    })
}

/// Keeps a line from being taken for a request. An apostrophe is escaped already.
fn at_start(line: &str) -> String {
    if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text).replace('"', "\\(dq"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_looks_like_markup_is_shown_as_written() {
        let mut page = Page::default();
        page.text(".config\n'x' --y a\\b");
        assert_eq!(page.into_text(), "\\&.config\n\\(aqx\\(aq \\-\\-y a\\eb\n");
    }
}
