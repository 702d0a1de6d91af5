//! What `tfo-client load` says: as it goes, and at the end.

mod document;
mod text;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tfo_core::program::output::{Output, Reader, colour_allowed};
use tfo_core::program::value::Format;

use super::failure::Failure;
use super::plan::Plan;
use super::run::LoadSettings;
use super::tally::Tally;
use crate::config::Settings;
use crate::output;

/// A limit of the user's is broken.
const BROKEN: u8 = 1;
/// No connection got its reply.
pub(crate) const NO_REPLY: u8 = 3;

pub(crate) struct LoadReport {
    format: Format,
    colour: bool,
    /// Progress may be shown, and overwritten.
    live: bool,
    host: String,
    address: SocketAddr,
    load: LoadSettings,
}

/// What became of the limits; `None`: there was none.
#[derive(Debug, Clone, Copy)]
struct Limits {
    fast_enough: Option<bool>,
    short_enough: Option<bool>,
}

impl LoadReport {
    pub(crate) fn new(settings: &Settings, load: &LoadSettings, address: SocketAddr) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        Self {
            format: settings.format,
            colour: colour_allowed(&stdout),
            live: stderr.is_terminal() && colour_allowed(&stderr),
            host: settings.target.host.clone(),
            address,
            load: load.clone(),
        }
    }

    /// Whether anybody sees the progress.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// How far it has come: one line that the next one overwrites.
    pub(crate) fn progress(&self, total: &Tally, time: Duration) {
        if self.live {
            let _ = write!(io::stderr(), "\x1b[2K\r{}", text::progress(total, time));
        }
    }

    pub(crate) fn finish(&self, plan: &Plan, total: &Tally) -> ExitCode {
        if self.live {
            let _ = write!(io::stderr(), "\x1b[2K\r");
        }
        let limits = self.limits(total);
        let text = match self.format {
            Format::Json => document::document(self, plan, total, limits),
            Format::Text => text::report(self, plan, total, limits),
        };
        match Output::stdout().print(text) {
            Ok(Reader::Listening | Reader::Gone) => {}
            Err(e) => {
                output::error(&io::Error::new(e.kind(), format!("can't print the report: {e}")));
                return ExitCode::from(output::USAGE);
            }
        }
        ExitCode::from(status(total, limits))
    }

    fn limits(&self, total: &Tally) -> Limits {
        let rate = total.rate();
        Limits {
            fast_enough: self.load.fail_under.map(|least| rate >= f64::from(least)),
            short_enough: self.load.max_p99.map(|most| total.p99().is_some_and(|p99| p99 <= most)),
        }
    }
}

fn status(total: &Tally, limits: Limits) -> u8 {
    if total.replies() == 0 {
        NO_REPLY
    } else if limits.fast_enough == Some(false) || limits.short_enough == Some(false) {
        BROKEN
    } else {
        0
    }
}

/// What helps against failures that are this host's own, or look like it.
fn advice(failure: Failure, server: SocketAddr) -> Option<String> {
    let fixed = match failure {
        Failure::PortsExhausted => Some(
            "this host has no free port left towards the server: give more source addresses \
             (`--source ADDR,ADDR`), close with `--reset`, or widen net.ipv4.ip_local_port_range",
        ),
        Failure::TooManyFiles => Some(
            "this process may not open more files: raise the limit (`ulimit -n 100000`), or lower \
             `--concurrency`",
        ),
        Failure::Refused => {
            return Some(format!(
                "nobody listens there, or a box resets SYNs with data: `tfo-client -s {server} -n 3` \
                 tells which"
            ));
        }
        Failure::TimedOut => Some(
            "the reply was not complete in time: does the server answer this request, and close? \
             `--no-reply` waits for none, `--expect-bytes` for no close, `--timeout` longer",
        ),
        Failure::Reset
        | Failure::Unreachable
        | Failure::ClosedEarly
        | Failure::WrongReply
        | Failure::Other => None,
    };
    fixed.map(str::to_owned)
}

/// It can't begin, or not go on.
pub(crate) fn load_refused(found: &io::Error) -> ExitCode {
    output::error(found);
    ExitCode::from(output::USAGE)
}
