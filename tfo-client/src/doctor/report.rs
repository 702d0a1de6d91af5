//! The doctor's output: a screen for people, a document for programs.

use std::time::Duration;

use tfo_core::cli::output::Pipe;
use tfo_core::cli::screen::{Screen, Wait};
use tfo_core::cli::value::Format;
use tfo_core::host::readiness::Role;

use super::arguments::{DoctorFlags, MetricsTarget};
use super::snapshot::Snapshot;
use super::{document, metrics, text};
use crate::output::{self, Failure};

/// Prints the report to standard output, or writes it to the file for metrics.
pub(super) struct DoctorReport<'a> {
    metrics: Option<MetricsTarget<'a>>,
    format: Format,
    half: Role,
    watch: bool,
    colour: bool,
    frames: u64,
    screen: Screen,
}

impl<'a> DoctorReport<'a> {
    pub(super) fn new(format: Format, flags: &'a DoctorFlags) -> Self {
        let watch = flags.watch().is_some();
        Self {
            metrics: flags.metrics(),
            format,
            half: flags.half(),
            watch,
            colour: output::colour(),
            frames: 0,
            screen: Screen::stdout(watch && flags.metrics().is_none() && format == Format::Text),
        }
    }

    /// Prints a frame, and returns whether more can be printed.
    pub(super) fn show(&mut self, snapshot: &Snapshot) -> Result<bool, Failure> {
        let text = match (self.metrics, self.format) {
            (Some(MetricsTarget::Stdout), _) => metrics::exposition(snapshot, self.half),
            (Some(MetricsTarget::File(path)), _) => {
                output::replace_file(path, &metrics::exposition(snapshot, self.half))?;
                return Ok(true);
            }
            (None, Format::Json) => document::document(snapshot, self.half, self.watch),
            (None, Format::Text) if self.screen.refreshes() => {
                text::brief(snapshot, self.half, self.colour)
            }
            (None, Format::Text) => {
                let before = if self.frames == 0 { "" } else { "\n" };
                before.to_owned() + &text::screen(snapshot, self.half, self.watch, self.colour)
            }
        };
        self.frames += 1;
        match self.screen.show(&text) {
            Ok(pipe) => Ok(pipe == Pipe::Open),
            Err(source) => Err(Failure::Print { what: "the report", source }),
        }
    }

    /// Waits for the next frame. Returns whether there is one: the user may quit.
    pub(super) fn wait(&self, interval: Duration) -> bool {
        self.screen.wait(interval) == Wait::Over
    }
}
