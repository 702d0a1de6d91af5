//! What `tfo-client doctor` found: a screen for people, a document for programs.

mod document;
mod text;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tfo_core::host::readiness::{Finding, Half};
use tfo_core::program::{
    output::{Output, Reader, colour_allowed},
    value::Format,
};

use super::run::{DoctorSettings, Look};
use crate::output;

/// Top left, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[expect(clippy::struct_excessive_bools, reason = "each is a property of the output")]
pub(crate) struct DoctorReport {
    format: Format,
    half: Half,
    watch: bool,
    colour: bool,
    /// A frame takes the place of the one before.
    refresh: bool,
    frames: u64,
    output: Output,
    /// A write failed otherwise than by a reader who had enough.
    lost: bool,
}

impl DoctorReport {
    pub(crate) fn new(format: Format, doctor: &DoctorSettings) -> Self {
        let stdout = io::stdout();
        Self {
            format,
            half: doctor.half,
            watch: doctor.watch.is_some(),
            colour: colour_allowed(&stdout),
            refresh: doctor.watch.is_some() && format == Format::Text && stdout.is_terminal(),
            frames: 0,
            output: Output::stdout(),
            lost: false,
        }
    }

    /// Prints a frame; `false` when nobody reads any more.
    pub(crate) fn show(&mut self, look: &Look) -> bool {
        let text = match self.format {
            Format::Json => document::document(look, self.half, self.watch),
            Format::Text => {
                let before = match (self.refresh, self.frames) {
                    (true, _) => CLEAR,
                    (false, 0) => "",
                    (false, _) => "\n",
                };
                before.to_owned() + &text::screen(look, self.half, self.watch, self.colour)
            }
        };
        self.frames += 1;
        match self.output.print(text) {
            Ok(Reader::Listening) => true,
            Ok(Reader::Gone) => false,
            Err(e) => {
                output::error(&io::Error::new(e.kind(), format!("can't print the report: {e}")));
                self.lost = true;
                false
            }
        }
    }

    /// Whether the report could not be written.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }
}

/// This host can't be read.
pub(crate) fn cannot_look(found: &tfo_core::Error) -> ExitCode {
    output::error(found);
    ExitCode::from(output::USAGE)
}

/// Whether this half is shown.
fn shows(half: Half, other: Half) -> bool {
    half == Half::Both || other == Half::Both || half == other
}

/// The findings about what is shown.
fn findings(look: &Look, half: Half) -> Vec<Finding> {
    look.facts.findings().into_iter().filter(|finding| shows(half, finding.half())).collect()
}

/// Whether a connection of this host has shown that its kernel tells the children of fast open.
fn child_seen(look: &Look) -> bool {
    let infos = look.open.iter().filter_map(|open| open.connection.info.as_ref());
    infos.into_iter().any(|info| info.tfo_child)
}
