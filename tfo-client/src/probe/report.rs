//! The probe's output: row by row for people, one document for programs.

use tfo_core::capture::TextStyle;
use tfo_core::cli::value::Format;

use super::arguments::ProbeFlags;
use super::connection::ProbedConnection;
use super::results::Results;
use super::{document, text};
use crate::config::Settings;
use crate::output::{self, Failure, Printer, Progress};

/// Prints the report to standard output.
pub(super) struct ProbeReport {
    format: Format,
    colour: bool,
    progress: Progress,
    printer: Printer,
    /// How to draw the packets of each connection, if at all.
    trace: Option<TextStyle>,
    /// Whether the report is about each address of the host.
    all_addresses: bool,
    /// The results of each address so far.
    results: Vec<Results>,
}

impl ProbeReport {
    pub(super) fn new(settings: &Settings, flags: &ProbeFlags) -> Self {
        Self {
            format: settings.output.format,
            colour: output::colour(),
            progress: Progress::new(),
            printer: Printer::stdout(),
            trace: flags.trace.then(|| output::drawing(flags.ascii)),
            all_addresses: flags.all_addresses,
            results: Vec::new(),
        }
    }

    /// Begins the part about an address.
    pub(super) fn begin(&mut self, results: Results) {
        if self.format == Format::Text {
            let gap = if self.results.is_empty() { "" } else { "\n" };
            self.printer.print(format_args!("{gap}{}", text::head(&results)));
        }
        self.results.push(results);
    }

    /// Shows that a connection is being made, which may take seconds; until Ctrl-C also what was made before.
    pub(super) fn waiting(&self, n: u32) {
        let running = self.results.last().filter(|results| results.count.is_none());
        let summary = running.map(text::running).unwrap_or_default();
        self.progress.show(&format!("  {n:>3}  connecting…{summary}"));
    }

    /// Adds a connection and prints its row. Returns whether more can be printed.
    pub(super) fn connection(&mut self, connection: ProbedConnection) -> bool {
        self.progress.erase();
        let Some(results) = self.results.last_mut() else { return false };
        let mut row = text::row(&connection, self.colour);
        if let Some(style) = self.trace {
            let ladder = text::ladder(&connection, results.address, style);
            row += &format!("\n{ladder}\n");
        }
        results.add(connection);
        let printed = self.format == Format::Json || self.printer.print(row);
        if results.count.is_none() {
            self.progress.show(text::running(results).trim_start());
        }
        printed
    }

    /// Ends the part about an address.
    pub(super) fn end(&mut self) {
        self.progress.erase();
        self.results.retain(|results| !results.connections.is_empty());
        if let Some(results) = self.results.last().filter(|_| self.format == Format::Text) {
            self.printer.print(text::foot(results, self.colour));
        }
    }

    /// Prints the end, and returns the results of each address: none, if no connection ended.
    pub(super) fn finish(mut self) -> Result<Vec<Results>, Failure> {
        if let Some(first) = self.results.first() {
            match self.format {
                Format::Json if self.all_addresses => {
                    self.printer.print(document::all_addresses(first, &self.results));
                }
                Format::Json => {
                    self.printer.print(document::document(first));
                }
                Format::Text if self.all_addresses => {
                    self.printer.print(text::overview(&self.results, self.colour));
                }
                Format::Text => {}
            }
        }
        self.printer.finish()?;
        Ok(self.results)
    }
}
