//! `tfo-client explain [VERDICT|CAUSE]`: a page of the manual.

use std::process::ExitCode;

use tfo_core::diagnosis::manual::Topic;

use crate::cli::ExplainFlags;
use crate::config::Settings;
use crate::report;

pub(crate) fn run(settings: &Settings, flags: &ExplainFlags) -> ExitCode {
    let Some(word) = &flags.word else {
        return report::contents(settings.format);
    };
    match Topic::named(word) {
        Some(topic) => report::page(settings.format, topic),
        None => report::no_such_word(word),
    }
}
