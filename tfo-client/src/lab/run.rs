//! Runs the command: the probe, or a program, in the lab's network.

use crate::prose::counted;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tfo_core::lab::Network;
use tfo_core::probe::Series;
use tfo_core::socket::Method;

use super::arguments::{LabFlags, RunOn};
use super::report::LabReport;
use crate::config::Settings;
use crate::config::file::Family;
use crate::network::ServedNetwork;
use crate::output::{self, Failure, note};
use crate::{first_bytes, interruption, probe, trace};

/// The time without a packet after which a path without delay counts as idle.
const QUIET: Duration = Duration::from_millis(20);

pub(crate) fn run(settings: &Settings, flags: &LabFlags) -> Result<ExitCode, Failure> {
    let pcap = flags.pcap.as_deref().map(trace::files_of_hosts);
    output::try_files(pcap.iter().flatten().chain(&flags.svg))?;
    let network_settings = flags.network.settings(settings.probe.family == Family::Ipv6)?;
    let served = network_settings.start(settings.target.port)?;
    let ServedNetwork { network, address, .. } = &served;
    let quiet = network_settings.rtt + network_settings.jitter + QUIET;
    let mut report = LabReport::new(settings.output.format, flags, network_settings, *address);
    let program_status = if flags.program.is_empty() {
        // A program gets the signals itself.
        let interrupted = interruption::flag_or_none();
        probes(settings, network, *address, quiet, &mut report, &interrupted);
        None
    } else {
        Some(program(network, flags, quiet, &mut report))
    };
    if let Some(file) = &flags.pcap {
        trace::write_pcap_of_hosts(file, &network.packets())?;
    }
    if network.missed() > 0 {
        note(&format!(
            "this machine was too slow for {} lost: the ladders are incomplete",
            counted(network.missed(), "packet, which was", "packets, which were")
        ));
    }
    let results = report.finish()?;
    program_status.unwrap_or_else(|| Ok(probe::exit_status(results.last_outcome())))
}

/// Makes one regular connection, and then those of the probe.
fn probes(
    settings: &Settings,
    network: &Network,
    address: SocketAddr,
    quiet: Duration,
    report: &mut LabReport,
    interrupted: &AtomicBool,
) {
    let mut series = Series::default();
    for n in 0..=settings.probe.count.get() {
        let before = network.packets().len();
        let method = if n == 0 { Method::Off } else { first_bytes::method(settings.probe.mode) };
        let plan = probe::plan(settings, address).method(method);
        let settings = settings.clone();
        let connection;
        (connection, series) = network
            .client()
            .run(move || (probe::connect(&plan, &settings, n, &mut series), series));
        network.settle(quiet);
        let packets = network.packets().split_off(before);
        if !report.connection(connection, packets) || interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
}

/// Runs the given program on a host of the lab, prints its connections, and returns its exit status.
fn program(
    network: &Network,
    flags: &LabFlags,
    quiet: Duration,
    report: &mut LabReport,
) -> Result<ExitCode, Failure> {
    let Some((name, arguments)) = flags.program.split_first() else { return Ok(ExitCode::SUCCESS) };
    let host = if flags.on == RunOn::Server { network.server() } else { network.client() };
    let mut command = Command::new(name);
    command.args(arguments);
    let ended = host.spawn_tree(command).and_then(|mut child| child.wait());
    network.settle(quiet);
    report.program(&network.packets());
    match ended {
        // A program terminated by a signal has no exit status; 1 is used instead.
        Ok(status) => {
            Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
        }
        Err(e) => Err(Failure::Unusable(format!("can't run {}: {e}", name.display()))),
    }
}
