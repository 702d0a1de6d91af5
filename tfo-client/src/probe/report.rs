//! What the probe says: as it goes for people, as one document for programs.

use std::io::{self, Write};
use std::net::SocketAddr;

use tfo_core::capture::{Crossing, Ladder, TextStyle};
use tfo_core::diagnosis::{self, Attempt, Balance, Evidence, Outcome, Summary, Verdict};
use tfo_core::observer::Timing;
use tfo_core::program::output::{Output, Reader, colour_allowed};
use tfo_core::program::value::Format;

use super::arguments::ProbeFlags;
use super::{document, text};
use crate::config::Settings;
use crate::output::error;

/// One connection of the probe.
pub(crate) struct Connection {
    pub(crate) n: u32,
    pub(crate) verdict: Verdict,
    pub(crate) evidence: Evidence,
    pub(crate) timing: Timing,
    pub(crate) message_bytes: usize,
    /// A mirror sent its half of the evidence.
    pub(crate) mirrored: bool,
    /// The packets, where they were traced.
    pub(crate) packets: Vec<Crossing>,
}

impl Connection {
    /// The bytes that the SYN took along.
    pub(super) fn syn_bytes(&self) -> usize {
        match self.evidence.client.as_ref().map(|client| client.attempt) {
            Some(Attempt::InSyn(bytes)) => bytes,
            _ => 0,
        }
    }

    /// The kernel's bit for it.
    pub(super) fn syn_data_acked(&self) -> bool {
        let tcp = self.evidence.client.as_ref().and_then(|client| client.tcp);
        tcp.is_some_and(|tcp| tcp.syn_data)
    }
}

/// The probe's report.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Report {
    format: Format,
    colour: bool,
    /// Progress may be shown, and overwritten.
    progress: bool,
    output: Output,
    /// A write failed otherwise than by a reader who had enough.
    lost: bool,
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) count: u32,
    pub(super) message_bytes: usize,
    /// Count the keys behind the address.
    balance: bool,
    /// Draw the packets of each connection.
    trace: bool,
    pub(super) connections: Vec<Connection>,
}

impl Report {
    pub(crate) fn new(
        settings: &Settings,
        flags: &ProbeFlags,
        address: SocketAddr,
        count: u32,
    ) -> Self {
        let mut report = Self {
            format: settings.format,
            colour: colour_allowed(&io::stdout()),
            progress: colour_allowed(&io::stderr()),
            output: Output::stdout(),
            lost: false,
            host: settings.target.host.clone(),
            address,
            count,
            balance: flags.balance.is_some(),
            trace: flags.trace,
            message_bytes: settings.payload.bytes(),
            connections: Vec::new(),
        };
        if report.format == Format::Text {
            let head = text::head(&report);
            report.print(&head);
        }
        report
    }

    /// Shows that a connection is under way: it may take seconds.
    pub(crate) fn waiting(&self, n: u32) {
        if self.progress {
            let _ = write!(io::stderr(), "  {n:>3}  connecting…\r");
        }
    }

    /// Takes a connection; `false` when nobody reads the report any more.
    pub(crate) fn connection(&mut self, connection: Connection) -> bool {
        if self.progress {
            // Erases the line that `waiting` wrote.
            let _ = write!(io::stderr(), "\x1b[2K\r");
        }
        let mut row = text::row(&connection, self.colour);
        if self.trace {
            row += &format!("\n{}\n", self.ladder(&connection));
        }
        self.connections.push(connection);
        self.format == Format::Json || self.print(&row)
    }

    /// Says what it all amounts to; `false` when the report could not be written.
    pub(crate) fn finish(&mut self) -> bool {
        let text = if self.format == Format::Json {
            document::document(self)
        } else {
            text::foot(self, &self.summary(), self.colour)
        };
        self.print(&text);
        !self.lost
    }

    /// All packets that were traced.
    pub(crate) fn packets(&self) -> Vec<Crossing> {
        self.connections.iter().flat_map(|connection| connection.packets.iter().cloned()).collect()
    }

    pub(crate) fn last_outcome(&self) -> Option<Outcome> {
        self.connections.last().map(|connection| connection.verdict.outcome)
    }

    pub(super) fn summary(&self) -> Summary {
        let verdicts: Vec<Verdict> =
            self.connections.iter().map(|connection| connection.verdict.clone()).collect();
        diagnosis::summarize(&verdicts)
    }

    /// The keys behind the address, where they are asked for.
    pub(super) fn balance(&self) -> Option<Balance> {
        let evidence = || self.connections.iter().map(|connection| connection.evidence.clone());
        self.balance.then(|| diagnosis::balance(&evidence().collect::<Vec<_>>()))
    }

    fn ladder(&self, connection: &Connection) -> String {
        let client = connection.evidence.client.as_ref().and_then(|client| client.local);
        let client = client.map_or_else(|| "this host".to_owned(), |local| local.ip().to_string());
        Ladder::new(client, self.address.ip().to_string())
            .crossings(&connection.packets)
            .to_text(TextStyle::default().colour(self.colour))
    }

    fn print(&mut self, text: &str) -> bool {
        match self.output.print(text) {
            Ok(Reader::Listening) => true,
            Ok(Reader::Gone) => false,
            Err(e) => {
                if !std::mem::replace(&mut self.lost, true) {
                    error(&io::Error::new(e.kind(), format!("can't print the report: {e}")));
                }
                false
            }
        }
    }
}
