//! The state of this host at one time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tfo_core::diagnosis::End;
use tfo_core::host::readiness::{Finding, HostFacts, Role};
use tfo_core::host::{Connection, CounterChange, Counters, RuntimeEnvironment};
use tfo_core::socket::TcpBits;

use super::open_connection::OpenConnection;

/// The state of this host at one time.
pub(super) struct Snapshot {
    pub(super) facts: HostFacts,
    pub(super) environment: RuntimeEnvironment,
    /// The connections of [`facts`](Self::facts) for which the kernel reports the bits to judge.
    pub(super) open: Vec<OpenConnection>,
    /// The change of the counters since the previous snapshot, and the time since then.
    pub(super) change: Option<(CounterChange, Duration)>,
}

/// Counters, and the time at which they were read.
pub(super) type CountersAt = (Counters, Instant);

impl Snapshot {
    /// Reads the state of this host. The change of the counters is relative to `before`.
    pub(super) fn take(environment: RuntimeEnvironment, before: Option<CountersAt>) -> Self {
        let facts = HostFacts::read();
        let change = before
            .zip(facts.counters)
            .map(|((before, at), now)| (now.since(&before), at.elapsed()));
        let open =
            facts.connections.iter().flatten().filter_map(|found| open(&facts, found)).collect();
        Self { facts, environment, open, change }
    }

    /// Returns the findings about the half that is shown.
    pub(super) fn findings(&self, half: Role) -> Vec<Finding> {
        let findings = self.facts.findings().into_iter();
        findings.filter(|finding| includes(half, finding.role())).collect()
    }

    /// Returns whether an open connection shows that the kernel reports `TCPI_OPT_TFO_CHILD`.
    pub(super) fn child_seen(&self) -> bool {
        let mut infos = self.open.iter().filter_map(|open| open.connection.info.as_ref());
        infos.any(|info| info.tfo_child)
    }
}

/// Returns whether a report about `half` includes what belongs to `other`.
pub(super) fn includes(half: Role, other: Role) -> bool {
    half == Role::Both || other == Role::Both || half == other
}

/// Returns the rate per second; 0 if no time has passed.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
pub(super) fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

fn open(facts: &HostFacts, connection: &Connection) -> Option<OpenConnection> {
    let info = connection.info.as_ref()?;
    // If no socket listens on its local address, the connection was opened by this host. A server that has
    // stopped listening therefore counts as a client, unless the kernel reports otherwise.
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
    Some(OpenConnection::new(connection.clone(), TcpBits::from(info), end, cached))
}

fn listens(facts: &HostFacts, local: SocketAddr) -> bool {
    facts.listeners.iter().flatten().any(|listener| {
        let ip = listener.address.ip();
        listener.address.port() == local.port()
            && (ip.is_unspecified() || ip.to_canonical() == local.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_without_elapsed_time_is_zero() {
        assert!(rate(5, Duration::ZERO).abs() < f64::EPSILON);
        assert!((rate(5, Duration::from_secs(2)) - 2.5).abs() < f64::EPSILON);
    }
}
