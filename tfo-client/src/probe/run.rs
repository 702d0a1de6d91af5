//! Makes the connections, one after another.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use tfo_core::cli::value::Format;
use tfo_core::diagnosis::Outcome;
use tfo_core::host::cookie_cache;
use tfo_core::probe::Probe;

use super::arguments::ProbeFlags;
use super::connection::{ProbedConnection, connect, plan};
use super::report::ProbeReport;
use super::{document, listen};
use crate::config::Settings;
use crate::config::file::BalanceCount;
use crate::output::{self, Failure, NO_CONNECTION};
use crate::trace::{self, Tracer};
use crate::{cookies, interruption, target};

/// Exit status: the last connection's data went in the SYN and was accepted.
const FAST_OPEN: u8 = 0;
/// Exit status: connected, but not by fast open.
const REGULAR: u8 = 1;

pub(crate) fn run(settings: &Settings, flags: &ProbeFlags) -> Result<ExitCode, Failure> {
    output::try_files(&flags.pcap)?;
    let address = match target::resolve(&settings.target, settings.family) {
        Ok(address) => address,
        Err(failure) => {
            if settings.format == Format::Json {
                output::print(document::unresolved(&settings.target.host, &failure))?;
            }
            return Err(failure);
        }
    };
    if flags.listen {
        listen::start(address)?;
    }
    if settings.fresh {
        cookie_cache::delete(None, address.ip())
            .map_err(|e| cookies::cannot_forget("--fresh", address.ip(), e))?;
    }
    let tracer =
        (flags.trace || flags.pcap.is_some()).then(|| Tracer::start(address)).transpose()?;
    let probe = plan(settings, address);
    let count = flags.balance.map_or(settings.count, BalanceCount::get);
    let mut report = ProbeReport::new(settings, flags, address, count);
    let mut made = 0;
    // Not before the private network of --listen, which needs a process without threads.
    let interrupted = interruption::flag_or_none();
    for n in 1..=count {
        if n > 1 {
            interruption::sleep(settings.interval, &interrupted);
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        report.waiting(n);
        let Some(mut connection) = connect_until(&interrupted, &probe, settings, n) else { break };
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
    Ok(status(results.last_outcome()))
}

/// Makes a connection, unless the user interrupts it: it may take seconds.
fn connect_until(
    interrupted: &AtomicBool,
    probe: &Probe,
    settings: &Settings,
    n: u32,
) -> Option<ProbedConnection> {
    let (to, from) = mpsc::channel();
    let (own_probe, own_settings) = (probe.clone(), settings.clone());
    let connecting = move || {
        // Nobody receives it after an interruption.
        let _ = to.send(connect(&own_probe, &own_settings, n));
    };
    match thread::Builder::new().name("probe".to_owned()).spawn(connecting) {
        Ok(_) => interruption::receive(&from, interrupted),
        Err(_) => Some(connect(probe, settings, n)),
    }
}

/// The exit status that the last connection decides.
pub(crate) fn status(last: Option<Outcome>) -> ExitCode {
    ExitCode::from(match last {
        Some(Outcome::FastOpen) => FAST_OPEN,
        None | Some(Outcome::Failed) => NO_CONNECTION,
        Some(_) => REGULAR,
    })
}
