//! Limits of open descriptors: raises the process limit, and computes the budget for connections.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::file::Limits;
use crate::config::{ListenSettings, Settings};

/// Upper bound for descriptors of logs, standard streams, key files, metrics and the like.
const OWN_DESCRIPTORS: u64 = 32;

/// The descriptors that connections need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescriptorNeed {
    /// Maximum number of open connections (`limits.connections`).
    pub(crate) connections: usize,
    /// Descriptors per connection: 2 if any listener forwards, else 1.
    pub(crate) per_connection: u64,
    pub(crate) listeners: usize,
    pub(crate) workers: usize,
}

impl DescriptorNeed {
    pub(crate) fn from_settings(settings: &Settings) -> Self {
        let forward = |listen: &ListenSettings| listen.forward().is_some();
        Self {
            connections: settings.limits.connections.get() as usize,
            per_connection: if settings.listeners.iter().any(forward) { 2 } else { 1 },
            listeners: settings.listeners.len(),
            workers: settings.workers,
        }
    }

    /// Returns how many connections `descriptors` allow.
    fn reachable(self, descriptors: u64) -> u64 {
        // Each worker has its listeners, an epoll instance and a waker.
        let workers = self.workers as u64 * (self.listeners as u64 + 2);
        descriptors.saturating_sub(OWN_DESCRIPTORS + workers) / self.per_connection.max(1)
    }
}

/// Descriptors that are open only briefly: files that are read again, `/proc`.
const TRANSIENT: u64 = 8;
/// Descriptors of the metrics thread in addition to its connections.
const METRICS_THREAD: u64 = 6;

/// Returns how many descriptors connections may use of `limit`, while `others` are in use; `None`: without a limit,
/// because no listener forwards.
///
/// A client is accepted only if a descriptor for its upstream is available as well. Limiting all connections keeps that
/// descriptor free.
pub(crate) fn for_connections(settings: &Settings, limit: u64, others: u64) -> Option<usize> {
    let forwards = || settings.listeners.iter().filter_map(ListenSettings::forward);
    forwards().next()?;
    // Health checks use a connection per upstream, an epoll instance and a waker.
    let checked = forwards().filter(|forward| forward.health_interval.nonzero().is_some());
    let checks: u64 = checked.map(|forward| forward.upstreams.get().len() as u64 + 2).sum();
    let metrics =
        settings.metrics.map_or(0, |_| METRICS_THREAD + max_metrics_connections(limit) as u64);
    let left = limit.saturating_sub(others + checks + metrics);
    // One connection per worker has priority over briefly open descriptors.
    let minimum = left.min(2 * settings.workers as u64);
    let left = left.saturating_sub(TRANSIENT.min(limit / 8)).max(minimum);
    Some(usize::try_from(left).unwrap_or(usize::MAX))
}

/// Returns the maximum number of metrics connections.
pub(crate) fn max_metrics_connections(limit: u64) -> usize {
    if limit < 1024 { 8 } else { 64 }
}

/// Returns the soft limit of open descriptors, or `u64::MAX` if it cannot be read.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Raises the soft limit to the hard limit, and logs if that is not enough.
///
/// The soft limit exists for programs that use `select(2)`, which cannot watch a descriptor above 1023.
pub(crate) fn raise(need: DescriptorNeed) {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(e) => {
                log::warn!("can't raise the descriptor limit from {soft} to {hard}: {}", e.desc());
                soft
            }
        },
        Ok((soft, _)) => soft,
        Err(e) => return log::warn!("can't read the descriptor limit: {}", e.desc()),
    };
    let reachable = need.reachable(limit);
    log::info!("descriptor limit {limit}, enough for {reachable} connections");
    // The default was not requested, so it causes no warning.
    let requested = need.connections != Limits::default().connections.get() as usize;
    if requested && reachable < need.connections as u64 {
        log::warn!(
            "limits.connections is {}, but {limit} descriptors allow only {reachable}: more connections are queued. \
             Raise the limit (ulimit -n, or LimitNOFILE= in the systemd unit), or lower limits.connections",
            need.connections
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tfo_core::cli::Environment;

    use super::*;
    use crate::config::flags::Flags;

    #[test]
    fn budget_reserves_descriptors_for_checks_and_metrics() {
        let settings = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, text).unwrap();
            let flags =
                Flags::parse_from(["tfo-server", "--config", file.path().to_str().unwrap()]);
            crate::config::resolve(&flags, &Environment::default()).unwrap().settings
        };
        let echo = settings("listen.service = \"echo\"\nengine.workers = 2\n");
        assert_eq!(for_connections(&echo, 64, 20), None, "no listener forwards");
        let forward = "listen.service = \"forward\"\nforward.upstreams = [\"192.0.2.1:80\"]\n\
                       engine.workers = 2\n";
        // 8 brief descriptors, and 3 for a health check.
        assert_eq!(for_connections(&settings(forward), 64, 20), Some(33));
        let unchecked = settings(&format!("{forward}forward.health-interval = \"0s\"\n"));
        assert_eq!(for_connections(&unchecked, 64, 20), Some(36));
        let watched = settings(&format!("{forward}metrics.port = 9413\n"));
        assert_eq!(for_connections(&watched, 64, 20), Some(19));
        assert_eq!(for_connections(&watched, 2048, 20), Some(1947));
        assert_eq!(for_connections(&watched, 42, 20), Some(4), "a pair for each worker");
        assert_eq!(for_connections(&watched, 20, 20), Some(0));
    }

    #[test]
    fn reachable_connections_halve_if_any_listener_forwards() {
        let need = DescriptorNeed { connections: 1, per_connection: 1, listeners: 3, workers: 2 };
        assert_eq!(need.reachable(1042), 1000);
        assert_eq!(DescriptorNeed { per_connection: 2, ..need }.reachable(1042), 500);
        assert_eq!(need.reachable(7), 0, "too few for the server itself");
        assert_eq!(need.reachable(u64::MAX), u64::MAX - 42, "no limit");
    }
}
