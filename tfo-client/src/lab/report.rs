//! The lab's output, printed and written as connections end.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tfo_core::capture::{PacketPath, TextStyle, connections};
use tfo_core::cli::value::Format;

use super::arguments::LabFlags;
use super::next_step::next_step;
use super::observed::Observed;
use super::results::{LabConnection, Results};
use super::{document, text};
use crate::network::NetworkSettings;
use crate::output::{self, Failure, Printer};
use crate::probe::ProbedConnection;
use crate::trace;

/// The number of connections of a program whose ladders are printed.
const PROGRAM_LADDERS: usize = 3;

/// Prints the report to standard output.
pub(super) struct LabReport {
    format: Format,
    style: TextStyle,
    printer: Printer,
    svg: Option<PathBuf>,
    results: Results,
}

impl LabReport {
    pub(super) fn new(
        format: Format,
        flags: &LabFlags,
        network: NetworkSettings,
        address: SocketAddr,
    ) -> Self {
        let mut report = Self {
            format,
            style: output::drawing(flags.ascii),
            printer: Printer::stdout(),
            svg: flags.svg.clone(),
            results: Results { network, address, connections: Vec::new() },
        };
        if report.format == Format::Text {
            report.printer.print(text::head(&report.results));
        }
        report
    }

    /// Adds a connection of the probe and prints it. Returns whether more can be printed.
    pub(super) fn connection(
        &mut self,
        mut probed: ProbedConnection,
        packets: Vec<PacketPath>,
    ) -> bool {
        probed.verdict.advice = next_step(&self.results.network, &probed.verdict);
        let title = match probed.n {
            0 => "A regular connection".to_owned(),
            n => format!("Fast open, connection {n}"),
        };
        let (packets, controls) = trace::without_controls(packets);
        let probed = Some(probed);
        self.show(LabConnection { title, probed, observed: None, packets, controls }, true)
    }

    /// Adds the connections of a program, and prints the first ones.
    pub(super) fn program(&mut self, packets: &[PacketPath]) {
        for (number, packets) in (1..).zip(connections(packets)) {
            let title = format!("Connection {number}");
            let observed = Observed::of(&packets);
            let connection = LabConnection { title, probed: None, observed, packets, controls: 0 };
            if !self.show(connection, number <= PROGRAM_LADDERS) {
                return;
            }
        }
    }

    fn show(&mut self, connection: LabConnection, print: bool) -> bool {
        let text = print.then(|| text::block(&self.results, &connection, self.style));
        self.results.connections.push(connection);
        match text {
            Some(text) if self.format == Format::Text => {
                self.printer.print(format_args!("{text}\n"))
            }
            _ => true,
        }
    }

    /// Prints the summary, and writes the picture.
    pub(super) fn finish(mut self) -> Result<Results, Failure> {
        self.printer.print(match self.format {
            Format::Json => document::document(&self.results),
            Format::Text => text::foot(&self.results, PROGRAM_LADDERS, self.style.colour),
        });
        if let Some(file) = &self.svg {
            fs::write(file, self.results.picture()).map_err(|e| Failure::write(file, e))?;
        }
        self.printer.finish()?;
        Ok(self.results)
    }
}
