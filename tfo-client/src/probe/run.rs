//! Makes the connections, one after another.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use tfo_core::diagnosis::{self, Evidence, Outcome};
use tfo_core::host::cookie_cache;
use tfo_core::mirror::Answer;
use tfo_core::observer::Probe;

use super::arguments::ProbeFlags;
use super::listen;
use super::report::{Connection, Report};
use crate::config::Settings;
use crate::config::file::BalanceCount;
use crate::first_bytes::{message, method, server_evidence, token};
use crate::trace::Tracer;
use crate::{output, target};

/// The last connection's data went in the SYN and was accepted.
const FAST_OPEN: u8 = 0;
/// Connected, but not by fast open.
const REGULAR: u8 = 1;
/// No connection.
const NO_CONNECTION: u8 = 3;

pub(crate) fn run(settings: &Settings, flags: &ProbeFlags) -> ExitCode {
    let address = match target::resolve(&settings.target, settings.family) {
        Ok(address) => address,
        Err(e) => return output::cannot_resolve(&settings.target, &e, NO_CONNECTION),
    };
    if flags.listen
        && let Err(e) = listen::start(address)
    {
        return output::cannot_listen(address, &e);
    }
    if settings.fresh
        && let Err(e) = cookie_cache::delete(None, address.ip())
    {
        return output::cannot_forget(address.ip(), &e);
    }
    let tracer = match (flags.trace || flags.pcap.is_some()).then(|| Tracer::start(address)) {
        None => None,
        Some(Ok(tracer)) => Some(tracer),
        Some(Err(e)) => return output::cannot_trace(&e),
    };
    let probe = plan(settings, address);
    let count = flags.balance.map_or(settings.count, BalanceCount::get);
    let mut report = Report::new(settings, flags, address, count);
    for n in 1..=count {
        if n > 1 {
            thread::sleep(settings.interval);
        }
        report.waiting(n);
        let mut connection = connect(&probe, settings, n);
        if let Some(tracer) = &tracer {
            connection.packets = tracer.take(connection.timing.rtt.unwrap_or_default());
        }
        if !report.connection(connection) {
            break;
        }
    }
    if !report.finish() {
        return ExitCode::from(output::USAGE);
    }
    if let Some(file) = &flags.pcap
        && let Err(e) = output::write_pcap(file, &report.packets())
    {
        return output::cannot_write(file, &e);
    }
    status(report.last_outcome())
}

/// The exit status that the last connection decides.
pub(crate) fn status(last: Option<Outcome>) -> ExitCode {
    ExitCode::from(match last {
        Some(Outcome::FastOpen) => FAST_OPEN,
        None | Some(Outcome::Failed) => NO_CONNECTION,
        Some(_) => REGULAR,
    })
}

pub(crate) fn plan(settings: &Settings, address: SocketAddr) -> Probe {
    let probe = Probe::new(address)
        .connect_timeout(settings.connect_timeout)
        .until(Answer::is_complete)
        .method(method(settings.mode));
    if settings.expect_reply { probe.reply_timeout(settings.reply_timeout) } else { probe }
}

pub(crate) fn connect(probe: &Probe, settings: &Settings, n: u32) -> Connection {
    let token = token();
    let message = message(settings, &token);
    let seen = probe.run(&message);
    let server = server_evidence(&seen.answer, &token);
    let mirrored = server.is_some();
    let evidence = Evidence::new(Some(seen.evidence), server);
    let verdict = diagnosis::judge(&evidence);
    Connection {
        n,
        verdict,
        evidence,
        timing: seen.timing,
        message_bytes: message.len(),
        mirrored,
        packets: Vec::new(),
    }
}
