//! What the lab shows: a ladder and a verdict for each connection, and what fast open saved.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tfo_core::capture::{Crossing, Fate, Ladder, TextStyle, connections, describe};
use tfo_core::diagnosis::{self, Outcome, Summary, Verdict};
use tfo_core::program::output::{Output, Reader, colour_allowed};
use tfo_core::program::value::Format;

use super::run::LabSettings;
use crate::config::Settings;
use crate::probe::document;
use crate::probe::report::Connection;
use crate::prose;

/// The lab's report.
pub(crate) struct LabReport {
    format: Format,
    style: TextStyle,
    output: Output,
    lab: LabSettings,
    address: SocketAddr,
    shown: Vec<Shown>,
}

/// A connection with its packets.
struct Shown {
    title: String,
    /// `None`: a program made it, not the probe.
    connection: Option<Connection>,
    crossings: Vec<Crossing>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    lab: Lab<'a>,
    connections: Vec<Line<'a>>,
    summary: Option<Summary>,
    saved: Option<Saved>,
}

#[derive(Serialize)]
struct Lab<'a> {
    rtt_us: u64,
    jitter_us: u64,
    loss: f64,
    boxes: Vec<&'a str>,
    servers: usize,
    server: String,
}

#[derive(Serialize)]
struct Line<'a> {
    title: &'a str,
    #[serde(flatten)]
    connection: Option<document::Line<'a>>,
    packets: Vec<Packet>,
}

#[derive(Serialize)]
struct Packet {
    direction: tfo_core::capture::Direction,
    /// Since the connection's first packet; the clock of both hosts is one.
    sent_us: Option<u64>,
    arrived_us: Option<u64>,
    dropped: bool,
    /// In words.
    what: String,
    bytes: usize,
    deeds: Vec<String>,
}

/// What fast open saved against the regular connection.
#[derive(Debug, Clone, Copy, Serialize)]
struct Saved {
    /// Negative: it cost time.
    us: i64,
    round_trips: f64,
}

impl LabReport {
    pub(crate) fn new(settings: &Settings, lab: &LabSettings, address: SocketAddr) -> Self {
        let colour = colour_allowed(&io::stdout());
        let mut report = Self {
            format: settings.format,
            style: TextStyle::default().colour(colour).ascii(lab.ascii),
            output: Output::stdout(),
            lab: lab.clone(),
            address,
            shown: Vec::new(),
        };
        if report.format == Format::Text {
            let head = report.head();
            report.print(&head);
        }
        report
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.lab.network.rtt + self.lab.network.jitter
    }

    pub(crate) fn last_outcome(&self) -> Option<Outcome> {
        self.shown.last()?.connection.as_ref().map(|connection| connection.verdict.outcome)
    }

    /// Takes a connection of the probe; `false` when nobody reads the report any more.
    pub(crate) fn connection(&mut self, connection: Connection, crossings: Vec<Crossing>) -> bool {
        let title = match connection.n {
            0 => "A regular connection".to_owned(),
            n => format!("Fast open, connection {n}"),
        };
        self.show(Shown { title, connection: Some(connection), crossings })
    }

    /// Takes the connections of a program.
    pub(crate) fn program(&mut self, crossings: &[Crossing]) {
        for (number, crossings) in (1..).zip(connections(crossings)) {
            let title = format!("Connection {number}");
            if !self.show(Shown { title, connection: None, crossings }) {
                return;
            }
        }
    }

    fn show(&mut self, shown: Shown) -> bool {
        let text = format!("{}\n", self.block(&shown));
        self.shown.push(shown);
        self.format == Format::Json || self.print(&text)
    }

    /// Says what it all amounts to, and writes the picture.
    pub(crate) fn finish(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let text = match self.format {
            Format::Json => self.document(),
            Format::Text => self.foot(),
        };
        self.print(&text);
        match &self.lab.svg {
            Some(file) => std::fs::write(file, self.picture()).map_err(|e| (file.clone(), e)),
            None => Ok(()),
        }
    }

    fn head(&self) -> String {
        let Self { lab, address, .. } = self;
        let mut path = format!("round trip {}", prose::time(Some(lab.network.rtt)));
        if !lab.network.jitter.is_zero() {
            path += &format!(" + up to {}", prose::time(Some(lab.network.jitter)));
        }
        if lab.network.loss > 0.0 {
            path += &format!(", {} % loss", lab.network.loss * 100.0);
        }
        let server = match lab.network.servers {
            1 => "the server".to_owned(),
            many => format!("{many} servers with different keys"),
        };
        let mut boxes = String::new();
        for middlebox in &lab.network.boxes {
            boxes += &prose::wrap(&format!("box {middlebox}: {}", middlebox.does()));
        }
        let hosts = format!("A private network, {server} at {address}; {path}.");
        prose::wrap(&hosts) + &boxes + "\n"
    }

    fn block(&self, shown: &Shown) -> String {
        let ladder = self.ladder(shown).to_text(self.style);
        let Some(connection) = &shown.connection else { return ladder };
        let verdict = &connection.verdict;
        let style = prose::style(verdict.outcome, self.style.colour);
        let mut block = format!("{ladder}\n{style}{}{style:#}\n", prose::words(verdict));
        if connection.n > 0 {
            block += &prose::wrap(&verdict.finding);
        }
        if let Some(time) = connection.timing.first_byte {
            block += &format!("First byte of the answer after {}", prose::time(Some(time)));
            if let Some(trips) = self.round_trips(time) {
                block += &format!(", {trips:.1} round trips");
            }
            block += ".\n";
        }
        block
    }

    fn ladder(&self, shown: &Shown) -> Ladder {
        let client = if self.address.is_ipv6() { "client 2001:db8::1" } else { "client 192.0.2.1" };
        let server = format!("server {}", self.address.ip());
        Ladder::new(client, server).title(&shown.title).crossings(&shown.crossings)
    }

    fn foot(&self) -> String {
        let mut foot = String::new();
        if let Some(summary) = self.summary() {
            let style = prose::style(summary.verdict.outcome, self.style.colour);
            foot += &format!("Verdict: {style}{}{style:#}\n", prose::words(&summary.verdict));
            foot += &prose::wrap(&summary.verdict.finding);
            foot += &prose::wrap(&self.saved_sentence());
            foot += &prose::next_step(&summary.verdict);
            foot += &prose::more(&summary.verdict);
        } else if self.shown.is_empty() {
            foot += "No connection crossed the path.\n";
        }
        foot
    }

    /// The summary of the probe's connections, the regular one left out.
    fn summary(&self) -> Option<Summary> {
        let verdicts: Vec<Verdict> = self
            .probed()
            .filter(|probed| probed.n > 0)
            .map(|probed| probed.verdict.clone())
            .collect();
        (!verdicts.is_empty()).then(|| diagnosis::summarize(&verdicts))
    }

    fn probed(&self) -> impl Iterator<Item = &Connection> {
        self.shown.iter().filter_map(|shown| shown.connection.as_ref())
    }

    fn round_trips(&self, time: Duration) -> Option<f64> {
        // Below a millisecond the machine itself takes most of the time.
        (self.lab.network.rtt >= Duration::from_millis(1))
            .then(|| time.as_secs_f64() / self.lab.network.rtt.as_secs_f64())
    }

    fn saved(&self) -> Option<Saved> {
        let regular = self.probed().find(|probed| probed.n == 0)?.timing.first_byte?;
        let tried = |only: Outcome| -> Vec<Duration> {
            self.probed()
                .filter(|probed| probed.n > 0 && probed.verdict.outcome == only)
                .filter_map(|probed| probed.timing.first_byte)
                .collect()
        };
        let mut times = tried(Outcome::FastOpen);
        if times.is_empty() {
            // It never worked: what did trying cost?
            times = tried(Outcome::Fallback);
        }
        times.sort_unstable();
        let fast = times.get(times.len() / 2)?;
        let saved = regular.as_secs_f64() - fast.as_secs_f64();
        #[allow(clippy::cast_possible_truncation, reason = "microseconds of a probe fit")]
        let us = (saved * 1e6).round() as i64;
        (self.lab.network.rtt >= Duration::from_millis(1))
            .then(|| Saved { us, round_trips: saved / self.lab.network.rtt.as_secs_f64() })
    }

    fn saved_sentence(&self) -> String {
        let Some(saved) = self.saved() else {
            return if self.lab.network.rtt < Duration::from_millis(1) {
                "Without a round trip time there is nothing to save: choose one, --rtt 40ms."
                    .to_owned()
            } else {
                "Nothing was saved.".to_owned()
            };
        };
        let time = prose::time(Some(Duration::from_micros(saved.us.unsigned_abs())));
        let trips = saved.round_trips.abs();
        let unit = if format!("{trips:.1}") == "1.0" { "round trip" } else { "round trips" };
        if trips < 0.5 {
            "Nothing was saved: the first byte of the answer came no sooner.".to_owned()
        } else if saved.us > 0 {
            format!(
                "Fast open saved {trips:.1} {unit} ({time}) until the first byte of the answer."
            )
        } else {
            format!("Trying fast open cost {time} until the first byte of the answer.")
        }
    }

    /// The first and the last connection: what it was without fast open, and what it became.
    fn picture(&self) -> String {
        let ladders: Vec<Ladder> = match self.shown.as_slice() {
            [] => vec![Ladder::new("client", "server").title("No connection crossed the path")],
            [only] => vec![self.ladder(only)],
            [first, .., last] => vec![self.ladder(first), self.ladder(last)],
        };
        Ladder::to_svg_row(&ladders)
    }

    fn document(&self) -> String {
        let Self { lab, address, .. } = self;
        let document = Document {
            schema: 1,
            lab: Lab {
                rtt_us: micros(lab.network.rtt),
                jitter_us: micros(lab.network.jitter),
                loss: lab.network.loss,
                boxes: lab.network.boxes.iter().map(|middlebox| middlebox.name()).collect(),
                servers: lab.network.servers,
                server: address.to_string(),
            },
            connections: self.shown.iter().map(line).collect(),
            summary: self.summary(),
            saved: self.saved(),
        };
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }

    fn print(&mut self, text: &str) -> bool {
        match self.output.print(text) {
            Ok(Reader::Listening) => true,
            Ok(Reader::Gone) => false,
            Err(e) => {
                log::error!("the report can't be written: {e}");
                false
            }
        }
    }
}

fn line(shown: &Shown) -> Line<'_> {
    let sights = shown.crossings.iter().flat_map(|crossing| [&crossing.sent, &crossing.arrived]);
    let start = sights.flatten().map(|sight| sight.at).min().unwrap_or_default();
    Line {
        title: &shown.title,
        connection: shown.connection.as_ref().map(document::line),
        packets: shown.crossings.iter().map(|crossing| packet(crossing, start)).collect(),
    }
}

fn packet(crossing: &Crossing, start: Duration) -> Packet {
    let since = |at: Duration| micros(at.saturating_sub(start));
    let sight = crossing.sent.as_ref().or(crossing.arrived.as_ref());
    Packet {
        direction: crossing.direction,
        sent_us: crossing.sent.as_ref().map(|sight| since(sight.at)),
        arrived_us: crossing.arrived.as_ref().map(|sight| since(sight.at)),
        dropped: crossing.fate == Fate::Dropped,
        what: sight.map(|sight| describe(&sight.frame).to_string()).unwrap_or_default(),
        bytes: sight.map_or(0, |sight| sight.frame.len()),
        deeds: crossing.deeds.iter().map(|deed| format!("{}: {}", deed.by, deed.what)).collect(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
