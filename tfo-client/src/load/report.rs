//! The output of the load: progress, and the results at the end.

use std::time::Duration;

use tfo_core::cli::value::Format;

use super::results::Results;
use super::tally::Tally;
use super::{document, text};
use crate::output::{self, Failure, Progress};

pub(super) struct LoadReport {
    format: Format,
    progress: Progress,
}

impl LoadReport {
    pub(super) fn new(format: Format) -> Self {
        Self { format, progress: Progress::new() }
    }

    /// Returns whether the progress is shown.
    pub(super) fn is_live(&self) -> bool {
        self.progress.is_shown()
    }

    /// Shows the results so far.
    pub(super) fn progress(&self, total: &Tally, time: Duration) {
        if self.is_live() {
            self.progress.show(&text::progress(total, time));
        }
    }

    pub(super) fn finish(&self, results: &Results<'_>) -> Result<(), Failure> {
        self.progress.erase();
        output::print(match self.format {
            Format::Json => document::document(results),
            Format::Text => text::report(results, output::colour()),
        })
    }
}
