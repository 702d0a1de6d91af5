//! The probe's output: row by row for people, one document for programs.

use std::net::SocketAddr;

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
    results: Results,
}

impl ProbeReport {
    pub(super) fn new(
        settings: &Settings,
        flags: &ProbeFlags,
        address: SocketAddr,
        count: u32,
    ) -> Self {
        let mut report = Self {
            format: settings.output.format,
            colour: output::colour(),
            progress: Progress::new(),
            printer: Printer::stdout(),
            trace: flags.trace.then(|| output::drawing(flags.ascii)),
            results: Results {
                host: settings.target.host.clone(),
                address,
                count,
                message_bytes: settings.payload.bytes(),
                counts_keys: flags.balance.is_some(),
                connections: Vec::new(),
            },
        };
        if report.format == Format::Text {
            report.printer.print(text::head(&report.results));
        }
        report
    }

    /// Shows that a connection is being made, which may take seconds.
    pub(super) fn waiting(&self, n: u32) {
        self.progress.show(&format!("  {n:>3}  connecting…"));
    }

    /// Adds a connection and prints its row. Returns whether more can be printed.
    pub(super) fn connection(&mut self, connection: ProbedConnection) -> bool {
        self.progress.erase();
        let mut row = text::row(&connection, self.colour);
        if let Some(style) = self.trace {
            let ladder = text::ladder(&connection, self.results.address, style);
            row += &format!("\n{ladder}\n");
        }
        self.results.connections.push(connection);
        self.format == Format::Json || self.printer.print(row)
    }

    /// Prints the summary, and returns the results.
    pub(super) fn finish(mut self) -> Result<Results, Failure> {
        self.printer.print(match self.format {
            Format::Json => document::document(&self.results),
            Format::Text => text::foot(&self.results, self.colour),
        });
        self.printer.finish()?;
        Ok(self.results)
    }
}
