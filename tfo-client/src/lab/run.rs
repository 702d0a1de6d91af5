//! The probe, or a program, in the lab's network.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::Duration;

use tfo_core::lab::Network;
use tfo_core::socket::Method;

use super::arguments::{LabFlags, On};
use super::report::LabReport;
use crate::config::Settings;
use crate::config::file::Family;
use crate::network::ServedNetwork;
use crate::output::{Failure, note};
use crate::{first_bytes, probe, trace};

/// The time after which a path without delay is taken for quiet.
const QUIET: Duration = Duration::from_millis(20);

pub(crate) fn run(settings: &Settings, flags: &LabFlags) -> Result<ExitCode, Failure> {
    let described = flags.network.settings(settings.family == Family::Ipv6)?;
    let served = described.start(settings.target.port)?;
    let ServedNetwork { network, address, .. } = &served;
    let quiet = described.rtt + described.jitter + QUIET;
    let mut report = LabReport::new(settings.format, flags, described, *address);
    let of_program = if flags.program.is_empty() {
        probes(settings, network, *address, quiet, &mut report);
        None
    } else {
        Some(program(network, flags, quiet, &mut report))
    };
    if let Some(file) = &flags.pcap {
        trace::write_pcap(file, &network.packets())?;
    }
    if network.missed() > 0 {
        note(&format!(
            "this machine was too slow for {} packets, which are lost: the pictures are not the whole truth",
            network.missed()
        ));
    }
    let results = report.finish()?;
    of_program.unwrap_or_else(|| Ok(probe::status(results.last_outcome())))
}

/// One regular connection, then those of the probe.
fn probes(
    settings: &Settings,
    network: &Network,
    address: SocketAddr,
    quiet: Duration,
    report: &mut LabReport,
) {
    for n in 0..=settings.count {
        let before = network.packets().len();
        let method = if n == 0 { Method::Off } else { first_bytes::method(settings.mode) };
        let plan = probe::plan(settings, address).method(method);
        let settings = settings.clone();
        let connection = network.client().run(move || probe::connect(&plan, &settings, n));
        network.settle(quiet);
        let packets = network.packets().split_off(before);
        if !report.connection(connection, packets) {
            break;
        }
    }
}

/// Runs the given program on a host of the lab, shows the connections that it made, and returns its
/// exit status.
fn program(
    network: &Network,
    flags: &LabFlags,
    quiet: Duration,
    report: &mut LabReport,
) -> Result<ExitCode, Failure> {
    let Some((name, arguments)) = flags.program.split_first() else { return Ok(ExitCode::SUCCESS) };
    let host = if flags.on == On::Server { network.server() } else { network.client() };
    let mut command = Command::new(name);
    command.args(arguments);
    let ended = host.spawn_tree(command).and_then(|mut child| child.wait());
    network.settle(quiet);
    report.program(&network.packets());
    match ended {
        // A program that a signal ended has no status; 1 stands for it.
        Ok(status) => {
            Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
        }
        Err(e) => Err(Failure::Unusable(format!("can't run {}: {e}", name.display()))),
    }
}
