//! Looks at this host, once or again and again.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::diagnosis::{End, OpenVerdict, judge_open};
use tfo_core::host::readiness::{Half, HostFacts};
use tfo_core::host::{Connection, CounterChange, Owners, Surroundings};

use super::report::{self, DoctorReport};
use crate::config::Settings;
use crate::output;

/// What the flags of `doctor` say.
#[derive(Debug, Clone)]
pub(crate) struct DoctorSettings {
    /// What is judged and shown.
    pub(crate) half: Half,
    /// Look again after this time.
    pub(crate) watch: Option<Duration>,
    /// How many times, if not for ever.
    pub(crate) frames: Option<u32>,
}

/// One look at this host.
pub(crate) struct Look {
    pub(crate) facts: HostFacts,
    pub(crate) owners: Owners,
    pub(crate) surroundings: Surroundings,
    /// The connections of [`facts`](Self::facts) that have bits to judge.
    pub(crate) open: Vec<Open>,
    /// How the counters changed since the last look, and in which time.
    pub(crate) change: Option<(CounterChange, Duration)>,
}

/// An open connection.
pub(crate) struct Open {
    pub(crate) connection: Connection,
    pub(crate) end: End,
    pub(crate) verdict: OpenVerdict,
}

pub(crate) fn run(settings: &Settings, doctor: &DoctorSettings) -> ExitCode {
    let mut report = DoctorReport::new(settings.format, doctor);
    let surroundings = Surroundings::detect();
    let mut before = None;
    let mut frame = 1;
    loop {
        let look = match look(surroundings.clone(), before.take()) {
            Ok(look) => look,
            Err(e) => return report::cannot_look(&e),
        };
        before = look.facts.counters.map(|counters| (counters, Instant::now()));
        let ready = look.facts.is_ready(doctor.half);
        if !report.show(&look) {
            return if report.is_lost() { ExitCode::from(output::USAGE) } else { status(ready) };
        }
        match doctor.watch {
            Some(interval) if doctor.frames.is_none_or(|frames| frame < frames) => {
                thread::sleep(interval);
            }
            _ => return status(ready),
        }
        frame += 1;
    }
}

fn status(ready: bool) -> ExitCode {
    if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(
    surroundings: Surroundings,
    before: Option<(tfo_core::host::Counters, Instant)>,
) -> tfo_core::Result<Look> {
    let facts = HostFacts::read()?;
    let change =
        before.zip(facts.counters).map(|((before, at), now)| (now.since(&before), at.elapsed()));
    let open = facts.connections.iter().flatten().filter_map(|found| open(&facts, found)).collect();
    Ok(Look { owners: Owners::read(), surroundings, open, change, facts })
}

fn open(facts: &HostFacts, connection: &Connection) -> Option<Open> {
    let info = connection.info.as_ref()?;
    // Without a listener at its own address a connection was made from here. A server that has
    // stopped listening is taken for a client, unless the kernel knows better.
    let server = info.tfo_child || listens(facts, connection.local);
    let end = if server { End::Server } else { End::Client };
    let (source, destination) = (connection.local.ip(), connection.remote.ip());
    let cached = facts.cookies.as_ref().map(|entries| {
        entries.iter().any(|entry| {
            entry.cookie.is_some()
                && entry.destination == destination
                && entry.source.is_none_or(|own| own == source)
        })
    });
    Some(Open { connection: connection.clone(), end, verdict: judge_open(info, end, cached) })
}

fn listens(facts: &HostFacts, local: SocketAddr) -> bool {
    facts.listeners.iter().flatten().any(|listener| {
        let ip = listener.address.ip();
        listener.address.port() == local.port()
            && (ip.is_unspecified() || ip.to_canonical() == local.ip())
    })
}
