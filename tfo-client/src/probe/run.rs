//! Runs the command: makes the connections one after another.

use std::io;
use std::process::ExitCode;
use std::thread;

use tfo_core::cli::Integer;
use tfo_core::diagnosis::Outcome;
use tfo_core::host::features::Feature;
use tfo_core::host::readiness::Finding;
use tfo_core::host::{cookie_cache, sysctl};
use tfo_core::probe::Series;

use super::arguments::ProbeFlags;
use super::connection::{connect, plan};
use super::listen;
use super::report::ProbeReport;
use crate::config::Settings;
use crate::output::{Failure, NO_CONNECTION, note};
use crate::trace::{self, Tracer};
use crate::{cookies, target};

/// Exit status if the last connection's data was sent in the SYN and accepted.
const FAST_OPEN: u8 = 0;
/// Exit status if the last connection was established, but not by fast open.
const REGULAR: u8 = 1;

pub(crate) fn run(settings: &Settings, flags: &ProbeFlags) -> Result<ExitCode, Failure> {
    let address = target::resolve(&settings.target, settings.probe.family)?;
    note_missing_setting();
    if flags.listen {
        listen::start(address)?;
    }
    if settings.probe.fresh.get() {
        cookie_cache::delete(None, address.ip())
            .map_err(|e| cookies::cannot_forget("--fresh", address.ip(), e))?;
    }
    let tracer =
        (flags.trace || flags.pcap.is_some()).then(|| Tracer::start(address)).transpose()?;
    let probe = plan(settings, address);
    let count = flags.balance.map_or(settings.probe.count.get(), Integer::get);
    let mut series = Series::default();
    let mut report = ProbeReport::new(settings, flags, address, count);
    for n in 1..=count {
        if n > 1 {
            thread::sleep(settings.probe.interval.get());
        }
        report.waiting(n);
        let mut connection = connect(&probe, settings, n, &mut series);
        if let Some(tracer) = &tracer {
            connection.packets = tracer.take(connection.timing.rtt.unwrap_or_default());
        }
        if !report.connection(connection) {
            break;
        }
    }
    let results = report.finish()?;
    if let Some(file) = &flags.pcap {
        trace::write_pcap(file, &results.packets())?;
    }
    Ok(exit_status(results.last_outcome()))
}

/// Prints a note if the kernel has no `net.ipv4.tcp_fastopen`: advice about that setting cannot be followed.
fn note_missing_setting() {
    if sysctl::tcp_fastopen().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        let missing = Finding::ClientSettingMissing(Feature::Connect.probe());
        note(&format!("{}; see `tfo-client doctor`", missing.what()));
    }
}

/// Returns the exit status for the outcome of the last connection.
pub(crate) fn exit_status(last: Option<Outcome>) -> ExitCode {
    ExitCode::from(match last {
        Some(Outcome::FastOpen) => FAST_OPEN,
        None | Some(Outcome::Failed) => NO_CONNECTION,
        Some(_) => REGULAR,
    })
}
