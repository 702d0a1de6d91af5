//! How many descriptors the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::file::Limits;
use crate::config::{ListenSettings, Settings};

/// What logs, standard streams, keys, metrics and the like take at most.
const OWN_DESCRIPTORS: u64 = 32;

/// What the connections need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescriptorNeed {
    /// The most that are open at once (`limits.connections`).
    pub(crate) connections: usize,
    /// One, and one more where it is forwarded.
    pub(crate) each: u64,
    pub(crate) listeners: usize,
    pub(crate) workers: usize,
}

impl DescriptorNeed {
    pub(crate) fn from_settings(settings: &Settings) -> Self {
        let forward = |listen: &ListenSettings| listen.forward().is_some();
        Self {
            connections: settings.limits.connections.get() as usize,
            each: if settings.listeners.iter().any(forward) { 2 } else { 1 },
            listeners: settings.listeners.len(),
            workers: settings.workers,
        }
    }

    /// How many connections so many descriptors allow.
    fn reachable(self, descriptors: u64) -> u64 {
        // Each worker has its listeners, an epoll instance and a waker.
        let workers = self.workers as u64 * (self.listeners as u64 + 2);
        descriptors.saturating_sub(OWN_DESCRIPTORS + workers) / self.each.max(1)
    }
}

/// What is open for moments: files that are read again, `/proc`.
const TRANSIENT: u64 = 8;
/// What the thread of the metrics has beside its connections.
const METRICS_THREAD: u64 = 6;

/// How many descriptors the connections may use of `limit`, while `others` are in use; `None`: as many as
/// there are, for none is forwarded.
///
/// A client is accepted only when there is a descriptor for its upstream too. All others wait, so that none
/// is taken that an upstream was promised.
pub(crate) fn for_connections(settings: &Settings, limit: u64, others: u64) -> Option<usize> {
    let forwards = || settings.listeners.iter().filter_map(ListenSettings::forward);
    forwards().next()?;
    // A check has a connection to each upstream, an epoll instance and a waker.
    let checked = forwards().filter(|forward| forward.health_interval.nonzero().is_some());
    let checks: u64 = checked.map(|forward| forward.upstreams.get().len() as u64 + 2).sum();
    let metrics =
        settings.metrics.map_or(0, |_| METRICS_THREAD + max_metrics_connections(limit) as u64);
    let left = limit.saturating_sub(others + checks + metrics);
    // A connection for each worker comes before what is open for moments.
    let each = left.min(2 * settings.workers as u64);
    let left = left.saturating_sub(TRANSIENT.min(limit / 8)).max(each);
    Some(usize::try_from(left).unwrap_or(usize::MAX))
}

/// How many may look at the metrics at a time.
pub(crate) fn max_metrics_connections(limit: u64) -> usize {
    if limit < 1024 { 8 } else { 64 }
}

/// The limit in force; without one that can be read, none.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Raises the soft limit to the hard one, and says so where that is too little.
///
/// The soft limit is for programs that use `select(2)`, which can't watch a descriptor above 1023.
pub(crate) fn raise(need: DescriptorNeed) {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(e) => {
                log::warn!("the limit of descriptors stays at {soft}, not {hard}: {}", e.desc());
                soft
            }
        },
        Ok((soft, _)) => soft,
        Err(e) => return log::warn!("the limit of descriptors can't be read: {}", e.desc()),
    };
    let reachable = need.reachable(limit);
    log::info!("at most {limit} descriptors: enough for {reachable} connections");
    // Nobody has asked for the default.
    let asked = need.connections != Limits::default().connections.get() as usize;
    if asked && reachable < need.connections as u64 {
        log::warn!(
            "limits.connections is {}, but {limit} descriptors are enough for {reachable}; then new ones wait. \
             Allow more (ulimit -n, or LimitNOFILE= of its systemd unit), or lower limits.connections",
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
    fn what_is_kept_from_connections_depends_on_who_is_forwarded_checked_and_watched() {
        let settings = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, text).unwrap();
            let flags =
                Flags::parse_from(["tfo-server", "--config", file.path().to_str().unwrap()]);
            crate::config::resolve(&flags, &Environment::default()).unwrap().settings
        };
        let echo = settings("listen.service = \"echo\"\nengine.workers = 2\n");
        assert_eq!(for_connections(&echo, 64, 20), None, "nobody needs an upstream");
        let forward = "listen.service = \"forward\"\nforward.upstreams = [\"192.0.2.1:80\"]\n\
                       engine.workers = 2\n";
        // Moments 8, a check 3.
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
    fn a_connection_takes_one_descriptor_and_a_forwarded_one_takes_two() {
        let need = DescriptorNeed { connections: 1, each: 1, listeners: 3, workers: 2 };
        assert_eq!(need.reachable(1042), 1000);
        assert_eq!(DescriptorNeed { each: 2, ..need }.reachable(1042), 500);
        assert_eq!(need.reachable(7), 0, "too few for the server itself");
        assert_eq!(need.reachable(u64::MAX), u64::MAX - 42, "no limit");
    }
}
