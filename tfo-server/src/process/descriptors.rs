//! How many descriptors the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::file::Limits;
use crate::config::{ListenSettings, ServiceSettings, Settings};

/// What logs, standard streams, keys, metrics and the like take at most.
const OWN: u64 = 32;

/// What the connections need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// The most that are open at once (`limits.connections`).
    pub(crate) connections: usize,
    /// One, and one more where it is forwarded.
    pub(crate) each: u64,
    pub(crate) listeners: usize,
    pub(crate) workers: usize,
}

impl Need {
    pub(crate) fn of(settings: &Settings) -> Self {
        let forward =
            |listen: &ListenSettings| matches!(listen.service, ServiceSettings::Forward(_));
        Self {
            connections: settings.limits.connections,
            each: if settings.listeners.iter().any(forward) { 2 } else { 1 },
            listeners: settings.listeners.len(),
            workers: settings.workers,
        }
    }

    /// How many connections so many descriptors allow.
    fn reachable(self, descriptors: u64) -> u64 {
        // Each worker has its listeners, an epoll instance and a waker.
        let workers = self.workers as u64 * (self.listeners as u64 + 2);
        descriptors.saturating_sub(OWN + workers) / self.each.max(1)
    }
}

/// Raises the soft limit to the hard one, and says so where that is too little.
///
/// The soft limit is for programs that use `select(2)`, which can't watch a descriptor above 1023.
pub(crate) fn raise(need: Need) {
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
    use super::*;

    #[test]
    fn a_connection_takes_one_descriptor_and_a_forwarded_one_takes_two() {
        let need = Need { connections: 1, each: 1, listeners: 3, workers: 2 };
        assert_eq!(need.reachable(1042), 1000);
        assert_eq!(Need { each: 2, ..need }.reachable(1042), 500);
        assert_eq!(need.reachable(7), 0, "too few for the server itself");
        assert_eq!(need.reachable(u64::MAX), u64::MAX - 42, "no limit");
    }
}
