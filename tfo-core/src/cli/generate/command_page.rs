//! A man page for each command: what clap knows of it, and the paragraphs below its help.

use clap::{ArgAction, Command};
use clap_mangen::Man;

use super::Program;
use super::page::{Page, bold, escaped, italic};

/// File names and texts of the pages of a program and its commands.
pub(super) fn all(program: &Program) -> Vec<(String, String)> {
    let mut command = program.command.clone();
    command.build();
    let mut pages = Vec::new();
    add(&command, program, None, &mut pages);
    pages
}

fn add(
    command: &Command,
    program: &Program,
    parent: Option<&str>,
    pages: &mut Vec<(String, String)>,
) {
    let name = command.get_display_name().unwrap_or(command.get_name());
    pages.push((format!("{name}.1"), page(command, program, parent)));
    for command in shown(command) {
        add(command, program, Some(name), pages);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn page(command: &Command, program: &Program, parent: Option<&str>) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let version = program.command.get_version().unwrap_or_default();
    let source = format!("{} {version}", program.command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = Page::new(name, "1", &source, &about);
    let below = Below::of(command);

    page.heading("SYNOPSIS");
    synopsis(&mut page, command);
    if !below.description.is_empty() {
        page.heading("DESCRIPTION");
        for paragraph in &below.description {
            page.paragraph(paragraph);
        }
    }
    if shown(command).next().is_some() {
        page.heading("COMMANDS");
        for sub in shown(command) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            page.item(&reference(&format!("{name}-{}", sub.get_name()), "1"), &about);
        }
    }
    options(&mut page, command);
    for (heading, text) in &below.sections {
        page.heading(&heading.to_uppercase());
        if heading == "Examples" {
            page.example(text.lines().map(str::trim_start));
        } else {
            page.paragraph(text);
        }
    }
    files(&mut page, program);
    see_also(&mut page, command, program, parent);
    page.into_text()
}

/// How the command is called, options in short: its page lists them below.
fn synopsis(page: &mut Page, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    for (number, form) in usage.trim_start_matches("Usage:").lines().enumerate() {
        if number > 0 {
            page.line(".br");
        }
        let name = command.get_bin_name().unwrap_or(command.get_name());
        let form = form.trim();
        match form.strip_prefix(name) {
            Some(rest) => page.line(&(bold(name) + &escaped(rest))),
            None => page.text(form),
        }
    }
}

/// The options, as clap renders them.
fn options(page: &mut Page, command: &Command) {
    // The name of the option takes the place of the value of a flag without a name.
    let command = command.clone().mut_args(|argument| match argument.get_action() {
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong => argument.help("Print help"),
        _ => argument,
    });
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = Man::new(command).render_options_section(&mut text);
    for line in String::from_utf8_lossy(&text).lines() {
        page.line(line);
    }
}

fn files(page: &mut Page, program: &Program) {
    page.heading("FILES");
    for (path, text) in [
        (format!("config/{}", program.config_name), "in the current folder, if it exists"),
        (format!("/etc/tfo/{}", program.config_name), "else, for the whole host"),
    ] {
        page.item(&italic(&path), text);
    }
}

fn see_also(page: &mut Page, command: &Command, program: &Program, parent: Option<&str>) {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut pages: Vec<_> = parent.map(|parent| reference(parent, "1")).into_iter().collect();
    pages.extend(shown(command).map(|sub| reference(&format!("{name}-{}", sub.get_name()), "1")));
    pages.push(reference(&format!("tfo-{}", program.config_name), "5"));
    for other in ["tfo-client", "tfo-server"] {
        if other != program.command.get_name() {
            pages.push(reference(other, "1"));
        }
    }
    pages.push(reference("tcp", "7"));
    page.heading("SEE ALSO");
    page.line(&pages.join(",\n"));
}

fn reference(name: &str, section: &str) -> String {
    format!("{}({section})", bold(name))
}

/// The section of the paragraph that names variables.
const ENVIRONMENT: &str = "Environment";

/// The paragraphs below the help: those that begin with a heading, such as `Exit status: `, become sections.
struct Below {
    description: Vec<String>,
    sections: Vec<(String, String)>,
}

impl Below {
    /// In the order of `man-pages(7)`.
    const HEADINGS: [&'static str; 4] = ["Exit status", ENVIRONMENT, "Signals", "Examples"];

    fn of(command: &Command) -> Self {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut below = Self { description: Vec::new(), sections: Vec::new() };
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            match paragraph.split_once(':') {
                Some((heading, rest)) if Self::HEADINGS.contains(&heading.trim()) => {
                    let rest = rest.trim_start_matches([' ', '\n']);
                    below.sections.push((heading.trim().to_owned(), capitalized(rest)));
                }
                _ if ["TFO_CLIENT_", "TFO_SERVER_"].iter().any(|name| paragraph.contains(name)) => {
                    below.sections.push((ENVIRONMENT.to_owned(), paragraph.to_owned()));
                }
                _ => below.description.push(paragraph.to_owned()),
            }
        }
        below.sections.sort_by_key(|(heading, _)| Self::HEADINGS.iter().position(|h| h == heading));
        below
    }
}

/// The text with its first letter in upper case, unless it begins with a command.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.starts_with("tfo-") => first.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}
