//! Runs the command: makes the connections one after another.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use tfo_core::cli::{Integer, value::Format};
use tfo_core::diagnosis::Outcome;
use tfo_core::host::features::Feature;
use tfo_core::host::readiness::Finding;
use tfo_core::host::{cookie_cache, sysctl};
use tfo_core::probe::{Probe, Series};

use super::arguments::ProbeFlags;
use super::connection::{ProbedConnection, connect, plan};
use super::report::ProbeReport;
use super::{document, listen};
use crate::config::Settings;
use crate::output::{self, Failure, NO_CONNECTION, note};
use crate::trace::{self, Tracer};
use crate::{cookies, interruption, target};

/// Exit status if the last connection's data was sent in the SYN and accepted.
const FAST_OPEN: u8 = 0;
/// Exit status if the last connection was established, but not by fast open.
const REGULAR: u8 = 1;

pub(crate) fn run(settings: &Settings, flags: &ProbeFlags) -> Result<ExitCode, Failure> {
    output::try_files(&flags.pcap)?;
    let address = match target::resolve(&settings.target, settings.probe.family) {
        Ok(address) => address,
        Err(failure) => {
            if settings.output.format == Format::Json {
                output::print(document::unresolved(&settings.target.host, &failure))?;
            }
            return Err(failure);
        }
    };
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
    let mut made = 0;
    // Not before the private network of --listen, which needs a process without threads.
    let interrupted = interruption::flag_or_none();
    for n in 1..=count {
        if n > 1 {
            interruption::sleep(settings.probe.interval.get(), &interrupted);
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        report.waiting(n);
        let Some((mut connection, series_so_far)) =
            connect_until(&interrupted, &probe, settings, n, series)
        else {
            break;
        };
        series = series_so_far;
        if let Some(tracer) = &tracer {
            connection.packets = tracer.take(connection.timing.rtt.unwrap_or_default());
        }
        made = n;
        if !report.connection(connection) {
            break;
        }
    }
    if made == 0 {
        return Err(Failure::NoConnection(
            "interrupted before the first connection ended".to_owned(),
        ));
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

/// Makes a connection, which may take seconds; `None` if the user interrupts it.
fn connect_until(
    interrupted: &AtomicBool,
    probe: &Probe,
    settings: &Settings,
    n: u32,
    mut series: Series,
) -> Option<(ProbedConnection, Series)> {
    let (sender, receiver) = mpsc::channel();
    let (own_probe, own_settings, mut own_series) =
        (probe.clone(), settings.clone(), series.clone());
    let connecting = move || {
        let connection = connect(&own_probe, &own_settings, n, &mut own_series);
        // After an interruption nobody receives it.
        let _ = sender.send((connection, own_series));
    };
    match thread::Builder::new().name("probe".to_owned()).spawn(connecting) {
        Ok(_) => interruption::receive(&receiver, interrupted),
        Err(_) => Some((connect(probe, settings, n, &mut series), series)),
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
