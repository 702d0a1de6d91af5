//! `tfo-client explain [WORD]`: prints a page of the manual.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments of the flags are the help that users read"
)]

mod report;

use std::process::ExitCode;

use clap::Args;
use tfo_core::cli::value::{nearest, one_of};
use tfo_core::diagnosis::manual::Topic;

use crate::config::Settings;
use crate::output::{self, Failure};

const AFTER_HELP: &str = "\
Exit status: 0 success, 2 no verdict or cause has this name.

Examples:
  tfo-client explain                       list verdicts and causes
  tfo-client explain option-stripped       show the page of one";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExplainFlags {
    /// Verdict, cause or fault to explain, as printed by the probe or by path [default: list all of them]
    #[arg(value_name = "WORD")]
    word: Option<String>,
}

pub(crate) fn run(settings: &Settings, flags: &ExplainFlags) -> Result<ExitCode, Failure> {
    let text = match &flags.word {
        None => report::contents(settings.output.format),
        Some(word) => {
            report::page(settings.output.format, Topic::named(word).ok_or_else(|| unknown(word))?)
        }
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the error for a word that has no page.
fn unknown(word: &str) -> Failure {
    let words: Vec<&str> = Topic::all().map(Topic::as_str).collect();
    let near: Vec<&str> = match nearest(&words, word) {
        Some(near) => vec![near],
        None => words.into_iter().filter(|known| word.len() > 2 && known.contains(word)).collect(),
    };
    let hint = match near.as_slice() {
        [] => "list all of them: tfo-client explain".to_owned(),
        near => format!("did you mean {}?", one_of(near)),
    };
    Failure::Unusable(format!("unknown verdict, cause or fault {word:?}; {hint}"))
}
