//! The output of a comparison: [`text`] with [`plot`]s for a terminal, an [`svg`] picture, an [`html`] page, a JSON
//! [`document`], and a [`csv`] file. [`words`] contains the sentences that they share.

mod axis;
mod csv;
mod document;
mod html;
mod plot;
mod results;
mod svg;
mod text;
mod words;

#[cfg(test)]
pub(crate) use self::document::CompareDocument;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tfo_core::cli::output::escape_control;
use tfo_core::cli::value::Format;

use self::plot::Look;
use self::results::{Results, target_name};
use super::comparison::{Comparison, FailedTarget};
use super::sample::{Metric, Sample, Side};
use super::settings::{CompareSettings, Files};
use super::statistics::Sorted;
use crate::config::{Settings, Target};
use crate::output::{self, Failure, Printer, Progress};
use crate::prose::wrap;

/// The minimum time between two updates of the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Returns the content of a file.
type Render = fn(&Results) -> String;

/// Prints the report of one or several comparisons to standard output, and writes the files.
pub(super) struct CompareReport {
    format: Format,
    /// Whether to print one row for each of several targets.
    rows: bool,
    colour: bool,
    /// Whether to print all that is known.
    details: bool,
    progress: Progress,
    shown: Instant,
    started: Instant,
    printer: Printer,
    results: Results,
}

impl CompareReport {
    pub(super) fn new(
        settings: &Settings,
        compare: &CompareSettings,
        targets: usize,
        details: bool,
    ) -> Self {
        Self {
            format: settings.output.format,
            rows: targets > 1,
            colour: output::colour(),
            details,
            progress: Progress::new(),
            shown: Instant::now(),
            started: Instant::now(),
            printer: Printer::stdout(),
            results: Results {
                settings: settings.clone(),
                compare: compare.clone(),
                targets: Vec::new(),
            },
        }
    }

    /// Prints the head of the report, before a target is measured.
    pub(super) fn begin(&mut self, target: &Target, address: SocketAddr) {
        self.started = Instant::now();
        if self.format == Format::Text {
            let results = &self.results;
            let head = match (self.rows, results.targets.is_empty()) {
                (true, true) => text::head(),
                (true, false) => String::new(),
                (false, _) => {
                    let title = results.title(target, address);
                    wrap(&format!("{title}: {}.", results.plan())) + "\n"
                }
            };
            self.printer.print(head);
        }
        self.progress.show(&format!("  {}: fetching the cookie…", target_name(target)));
    }

    /// Shows the progress, unless it was shown a moment ago.
    pub(super) fn progress(&mut self, samples: &[Sample], metrics: &[Metric], both_regular: bool) {
        let (pairs, most) = (samples.len() / 2, self.results.compare.pairs);
        if !self.progress.is_shown() || (self.shown.elapsed() < PROGRESS_INTERVAL && pairs > 1) {
            return;
        }
        self.shown = Instant::now();
        let metric = metrics.first().copied().unwrap_or(Metric::FirstByte);
        let median = |side: Side| {
            let of_side = samples
                .iter()
                .filter(|sample| sample.side == side && sample.is_proper(both_regular));
            let median = Sorted::new(of_side.filter_map(|sample| sample.time(metric))).median();
            median.map_or_else(|| "none".to_owned(), words::time)
        };
        let elapsed = self.started.elapsed();
        let whole = elapsed.mul_f64(axis::count(most) / axis::count(pairs).max(1.0));
        let rest = match self.results.compare.until_ci {
            None => format!("{} s left", whole.saturating_sub(elapsed).as_secs() + 1),
            Some(_) => format!("{} s so far", elapsed.as_secs()),
        };
        self.progress.show(&format!(
            "  {pairs} of {most} pairs: regular {}, {} {}, {rest}",
            median(Side::Regular),
            words::side(Side::FastOpen, both_regular),
            median(Side::FastOpen),
        ));
    }

    /// Adds the comparison for a target and prints it. Returns whether more can be printed.
    pub(super) fn comparison(&mut self, comparison: Comparison) -> bool {
        self.progress.erase();
        let text = match (self.format, self.rows) {
            (Format::Json, _) => String::new(),
            (Format::Text, false) => {
                let look = Look { colour: self.colour, ascii: self.results.compare.ascii };
                self.results.interruption(&comparison)
                    + &text::comparison(&comparison, look, self.details)
            }
            (Format::Text, true) => text::row(&comparison, self.colour),
        };
        self.results.targets.push(Ok(comparison));
        self.printer.print(text)
    }

    /// Adds a target that could not be measured and prints the reason. Returns whether more can be printed.
    pub(super) fn failed_target(&mut self, failed: FailedTarget) -> bool {
        self.progress.erase();
        let failed = FailedTarget {
            reason: escape_control(&failed.reason),
            advice: escape_control(&failed.advice),
            ..failed
        };
        let shown = if self.rows && self.format == Format::Text {
            self.printer.print(text::failed_target(&failed))
        } else {
            let message = format!("{} {}", failed.reason, failed.advice);
            output::error(&Failure::Unusable(message.trim_end().to_owned()));
            true
        };
        self.results.targets.push(Err(failed));
        shown
    }

    /// Completes the report, and writes the files.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if self.format == Format::Json {
            self.printer.print(document::document(&self.results));
        }
        let Files { svg, html, json, csv } = self.results.compare.files.clone();
        let files: [(Option<PathBuf>, Render); 4] =
            [(svg, svg::picture), (html, html::page), (json, document::document), (csv, csv::rows)];
        for (file, render) in files {
            if let Some(file) = file {
                fs::write(&file, render(&self.results)).map_err(|e| Failure::write(&file, e))?;
            }
        }
        self.printer.finish()
    }
}
