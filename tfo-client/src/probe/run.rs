//! Runs the command: makes the connections one after another.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use tfo_core::cli::{Integer, value::Format};
use tfo_core::host::features::Feature;
use tfo_core::host::readiness::Finding;
use tfo_core::host::{cookie_cache, sysctl};
use tfo_core::probe::{Probe, Series};

use super::arguments::ProbeFlags;
use super::connection::{ProbedConnection, connect, plan};
use super::report::ProbeReport;
use super::results::Results;
use super::{document, listen};
use crate::config::Settings;
use crate::output::{self, Failure, note};
use crate::trace::{self, Tracer};
use crate::{cookies, interruption, target};

/// The pause between two connections of `--forever`, unless another one is given.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn run(settings: &Settings, flags: &ProbeFlags) -> Result<ExitCode, Failure> {
    output::try_files(&flags.pcap)?;
    let addresses = match addresses(settings, flags) {
        Ok(addresses) => addresses,
        Err(failure) => {
            if settings.output.format == Format::Json {
                output::print(document::unresolved(&settings.target.host, &failure))?;
            }
            return Err(failure);
        }
    };
    note_missing_setting();
    if flags.listen {
        addresses.first().map_or(Ok(()), |address| listen::start(*address))?;
    }
    let mut report = ProbeReport::new(settings, flags);
    // Not before the private network of --listen, which needs a process without threads.
    let interrupted = interruption::flag_or_none();
    for address in addresses {
        target::check_local(&settings.probe, address)?;
        let more = probe(settings, flags, address, &interrupted, &mut report);
        report.end();
        if !more? || interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    let results = report.finish()?;
    let Some(status) = results.iter().map(Results::status).max() else {
        return Err(Failure::NoConnection(
            "interrupted before the first connection ended".to_owned(),
        ));
    };
    if let Some(file) = &flags.pcap {
        let packets: Vec<_> = results.iter().flat_map(Results::packets).collect();
        trace::write_pcap(file, &packets)?;
    }
    Ok(ExitCode::from(status))
}

fn addresses(settings: &Settings, flags: &ProbeFlags) -> Result<Vec<SocketAddr>, Failure> {
    let (target, family) = (&settings.target, settings.probe.family);
    if flags.all_addresses {
        target::resolve_all(target, family)
    } else {
        target::resolve(target, family).map(|address| vec![address])
    }
}

/// Makes the connections to one address. Returns whether more can be printed.
fn probe(
    settings: &Settings,
    flags: &ProbeFlags,
    address: SocketAddr,
    interrupted: &AtomicBool,
    report: &mut ProbeReport,
) -> Result<bool, Failure> {
    if settings.probe.fresh.get() {
        cookie_cache::delete(settings.probe.source.get(), address.ip())
            .map_err(|e| cookies::cannot_forget("--fresh", address.ip(), e))?;
    }
    let tracer =
        (flags.trace || flags.pcap.is_some()).then(|| Tracer::start(address)).transpose()?;
    let probe = target::connect_from(plan(settings, address), &settings.probe, address);
    let once = flags.balance.map_or(settings.probe.count.get(), Integer::get);
    let count = (!flags.forever).then_some(once);
    let pause = match settings.probe.interval.get() {
        Duration::ZERO if flags.forever => PAUSE,
        interval => interval,
    };
    let mut series = Series::default();
    report.begin(Results {
        host: settings.target.host.clone(),
        address,
        count,
        message_bytes: settings.payload.bytes(),
        counts_keys: flags.balance.is_some(),
        connections: VecDeque::new(),
        tally: BTreeMap::new(),
    });
    for n in 1..=count.unwrap_or(u32::MAX) {
        if n > 1 {
            interruption::sleep(pause, interrupted);
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        report.waiting(n);
        let Some((mut connection, series_so_far)) =
            connect_until(interrupted, &probe, settings, n, series)
        else {
            break;
        };
        series = series_so_far;
        if let Some(tracer) = &tracer {
            connection.packets = tracer.take(connection.timing.rtt.unwrap_or_default());
        }
        if !report.connection(connection) {
            return Ok(false);
        }
    }
    Ok(true)
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
