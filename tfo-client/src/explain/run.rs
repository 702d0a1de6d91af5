//! The page that is asked for.

use std::process::ExitCode;

use tfo_core::diagnosis::manual::Topic;

use super::arguments::ExplainFlags;
use super::report;
use crate::config::Settings;

pub(crate) fn run(settings: &Settings, flags: &ExplainFlags) -> ExitCode {
    let Some(word) = &flags.word else {
        return report::contents(settings.format);
    };
    match Topic::named(word) {
        Some(topic) => report::page(settings.format, topic),
        None => report::no_such_word(word),
    }
}
