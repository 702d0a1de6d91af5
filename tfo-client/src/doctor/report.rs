//! The doctor's output: a screen for people, a document for programs.

use std::io::{self, IsTerminal};

use tfo_core::cli::value::Format;
use tfo_core::host::readiness::Role;

use super::arguments::{DoctorFlags, MetricsTarget};
use super::snapshot::Snapshot;
use super::{document, metrics, text};
use crate::output::{self, Failure, Printer};

/// Moves the cursor to the top left and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Prints the report to standard output, or writes it to the file for metrics.
pub(super) struct DoctorReport<'a> {
    metrics: Option<MetricsTarget<'a>>,
    format: Format,
    half: Role,
    watch: bool,
    colour: bool,
    /// Whether each frame overwrites the previous one.
    refresh: bool,
    frames: u64,
    printer: Printer,
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
            refresh: watch && format == Format::Text && io::stdout().is_terminal(),
            frames: 0,
            printer: Printer::stdout(),
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
            (None, Format::Text) => {
                let before = match (self.refresh, self.frames) {
                    (true, _) => CLEAR,
                    (false, 0) => "",
                    (false, _) => "\n",
                };
                before.to_owned() + &text::screen(snapshot, self.half, self.watch, self.colour)
            }
        };
        self.frames += 1;
        Ok(self.printer.print(text))
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.printer.finish()
    }
}
