//! What a look at this host shows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tfo_core::diagnosis::End;
use tfo_core::host::readiness::{Finding, HostFacts, Role};
use tfo_core::host::{Connection, CounterChange, Counters, RuntimeEnvironment};
use tfo_core::socket::TcpBits;

use super::open_connection::OpenConnection;

/// One look at this host.
pub(super) struct Snapshot {
    pub(super) facts: HostFacts,
    pub(super) environment: RuntimeEnvironment,
    /// The connections of [`facts`](Self::facts) that have bits to judge.
    pub(super) open: Vec<OpenConnection>,
    /// How the counters changed since the snapshot before, and in which time.
    pub(super) change: Option<(CounterChange, Duration)>,
}

/// Counters, and when they were read.
pub(super) type CountersAt = (Counters, Instant);

impl Snapshot {
    /// Looks at this host. The change is that since `before`.
    pub(super) fn take(environment: RuntimeEnvironment, before: Option<CountersAt>) -> Self {
        let facts = HostFacts::read();
        let change = before
            .zip(facts.counters)
            .map(|((before, at), now)| (now.since(&before), at.elapsed()));
        let open =
            facts.connections.iter().flatten().filter_map(|found| open(&facts, found)).collect();
        Self { facts, environment, open, change }
    }

    /// The findings about what is shown.
    pub(super) fn findings(&self, half: Role) -> Vec<Finding> {
        let findings = self.facts.findings().into_iter();
        findings.filter(|finding| shows(half, finding.role())).collect()
    }

    /// Whether a connection of this host has shown that its kernel marks the children of fast open.
    pub(super) fn child_seen(&self) -> bool {
        let mut infos = self.open.iter().filter_map(|open| open.connection.info.as_ref());
        infos.any(|info| info.tfo_child)
    }
}

/// Whether a report about `half` shows what belongs to `other`.
pub(super) fn shows(half: Role, other: Role) -> bool {
    half == Role::Both || other == Role::Both || half == other
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
pub(super) fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

fn open(facts: &HostFacts, connection: &Connection) -> Option<OpenConnection> {
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
    fn a_rate_needs_time() {
        assert!(rate(5, Duration::ZERO).abs() < f64::EPSILON);
        assert!((rate(5, Duration::from_secs(2)) - 2.5).abs() < f64::EPSILON);
    }
}
