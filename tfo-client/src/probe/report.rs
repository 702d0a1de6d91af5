//! What the probe prints: as it goes for people, as one document for programs.

use std::net::SocketAddr;

use tfo_core::cli::value::Format;

use super::arguments::ProbeFlags;
use super::connection::ProbedConnection;
use super::results::Results;
use super::{document, text};
use crate::config::Settings;
use crate::output::{self, Failure, Printer, Progress};

/// The report on its way to standard output.
pub(super) struct ProbeReport {
    format: Format,
    colour: bool,
    progress: Progress,
    printer: Printer,
    /// Draw the packets of each connection.
    trace: bool,
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
            trace: flags.trace,
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

    /// Shows that a connection is under way: it may take seconds.
    pub(super) fn waiting(&self, n: u32) {
        self.progress.show(&format!("  {n:>3}  connecting…"));
    }

    /// Takes a connection, and returns whether somebody reads on.
    pub(super) fn connection(&mut self, connection: ProbedConnection) -> bool {
        self.progress.erase();
        let mut row = text::row(&connection, self.colour);
        if self.trace {
            let ladder = text::ladder(&connection, self.results.address, self.colour);
            row += &format!("\n{ladder}\n");
        }
        self.results.connections.push(connection);
        self.format == Format::Json || self.printer.print(row)
    }

    /// Prints what it all amounts to, and returns it.
    pub(super) fn finish(mut self) -> Result<Results, Failure> {
        self.printer.print(match self.format {
            Format::Json => document::document(&self.results),
            Format::Text => text::foot(&self.results, self.colour),
        });
        self.printer.finish()?;
        Ok(self.results)
    }
}
