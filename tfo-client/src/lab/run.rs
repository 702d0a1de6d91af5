//! The probe, or a program, in the lab's network.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use tfo_core::lab::Network;
use tfo_core::socket::Method;

use super::arguments::LabFlags;
use super::report::LabReport;
use crate::config::Settings;
use crate::config::file::Family;
use crate::network::{NetworkSettings, ServedNetwork};
use crate::{first_bytes, output, probe};

/// What the flags of `lab` say.
#[derive(Debug, Clone)]
pub(crate) struct LabSettings {
    pub(crate) network: NetworkSettings,
    pub(crate) ascii: bool,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) pcap: Option<PathBuf>,
    pub(crate) on_server: bool,
    /// The program to run instead of the probe.
    pub(crate) program: Vec<OsString>,
}

/// The time after which a path without delay is taken for quiet.
const QUIET: Duration = Duration::from_millis(20);

pub(crate) fn run(settings: &Settings, flags: &LabFlags) -> ExitCode {
    let lab = &flags.settings(settings.family == Family::Ipv6);
    let served = match NetworkSettings::start(&lab.network, settings.target.port) {
        Ok(served) => served,
        Err(status) => return status,
    };
    let ServedNetwork { network, address, .. } = &served;
    let mut report = LabReport::new(settings, lab, *address);
    let status = if lab.program.is_empty() {
        probes(settings, network, *address, &mut report)
    } else {
        program(network, lab, &mut report)
    };
    if let Some(file) = &lab.pcap
        && let Err(e) = output::write_pcap(file, &network.crossings())
    {
        return output::cannot_write(file, &e);
    }
    if network.missed() > 0 {
        output::note(&format!(
            "this machine was too slow for {} packets, which are lost: the pictures are not the whole truth",
            network.missed()
        ));
    }
    match report.finish() {
        Ok(()) => status,
        Err((file, e)) => output::cannot_write(&file, &e),
    }
}

/// One regular connection, then those of the probe.
fn probes(
    settings: &Settings,
    network: &Network,
    address: SocketAddr,
    report: &mut LabReport,
) -> ExitCode {
    let quiet = report.rtt() + QUIET;
    for n in 0..=settings.count {
        let before = network.crossings().len();
        let method = if n == 0 { Method::Off } else { first_bytes::method(settings.mode) };
        let plan = probe::plan(settings, address).method(method);
        let settings = settings.clone();
        let connection = network.client().run(move || probe::connect(&plan, &settings, n));
        network.settle(quiet);
        let crossings = network.crossings().split_off(before);
        if !report.connection(connection, crossings) {
            break;
        }
    }
    probe::status(report.last_outcome())
}

/// Runs the given program on a host of the lab, and shows the connections that it made.
fn program(network: &Network, lab: &LabSettings, report: &mut LabReport) -> ExitCode {
    let Some((name, arguments)) = lab.program.split_first() else { return ExitCode::SUCCESS };
    let host = if lab.on_server { network.server() } else { network.client() };
    let mut command = Command::new(name);
    command.args(arguments);
    let ended = host.spawn_tree(command).and_then(|mut child| child.wait());
    network.settle(report.rtt() + QUIET);
    report.program(&network.crossings());
    match ended {
        // A program that a signal ended has no status; 1 stands for it.
        Ok(status) => {
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        Err(e) => output::lab_failed(&format!("can't run {}: {e}", name.display())),
    }
}
