//! Finds out which key generated a SYN's cookie, and for which client.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tfo_core::cookie::KeyRing;
use tfo_core::cookie::forensics::{self, Origin};
use tfo_core::socket::Arrival;

/// The origin of a received cookie, as far as this server can read the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OriginReading {
    /// The kernel uses other keys than this server has read, and does not let the server read them.
    #[serde(rename = "unknown")]
    Unreadable,
    /// The origin by the keys in use.
    #[serde(untagged)]
    Of(Origin),
}

impl OriginReading {
    /// Returns whether the kernel treated the cookie as the origin excludes: the keys may have changed.
    pub(crate) fn is_contradicted_by(self, arrival: &Arrival) -> bool {
        let Some(origin) = self.by_keys() else { return false };
        let payload = arrival.syn.saved().map_or(0, |syn| syn.payload_bytes);
        let accepted = arrival.tcp.syn_data || arrival.tcp.tfo_child;
        if origin.is_accepted() { payload > 0 && !accepted } else { accepted }
    }

    /// Returns the origin by the keys in use; `None` if they could not be read.
    pub(crate) fn by_keys(self) -> Option<Origin> {
        match self {
            Self::Of(origin) => Some(origin),
            Self::Unreadable => None,
        }
    }
}

impl fmt::Display for OriginReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(origin) => origin.fmt(f),
            Self::Unreadable => f.write_str("of unknown origin"),
        }
    }
}

/// Number of recent client addresses that each worker remembers.
const MAX_RECENT: usize = 64;

/// Determines the origin of cookies, and remembers recent clients for this purpose.
///
/// A refused cookie may have been generated for another address, which a NAT previously assigned to the client. The
/// addresses of recent clients and those of the client's own IPv4 network are tried, which costs some ten microseconds.
/// Only a client that has completed a handshake can cause this cost.
#[derive(Debug)]
pub(crate) struct CookieForensics {
    recent: Arc<RecentClients>,
    /// The index of this worker.
    own: usize,
}

/// The most recent client addresses of each worker. A worker writes only its own list, and reads the others' only for
/// refused cookies, so that workers rarely contend.
#[derive(Debug)]
pub(crate) struct RecentClients(Vec<Mutex<VecDeque<IpAddr>>>);

impl RecentClients {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Mutex::default()).collect())
    }

    fn of(&self, worker: usize) -> Option<MutexGuard<'_, VecDeque<IpAddr>>> {
        Some(self.0.get(worker)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CookieForensics {
    pub(crate) fn new(recent: Arc<RecentClients>, own: usize) -> Self {
        Self { recent, own }
    }

    /// Returns the origin of the cookie in the connection's SYN; `None` without a cookie, or if no key is known.
    pub(crate) fn origin(
        &self,
        arrival: &Arrival,
        ring: Option<&KeyRing>,
    ) -> Option<OriginReading> {
        let syn = arrival.syn.saved()?;
        let (source, destination) = (arrival.peer.ip().to_canonical(), syn.destination?.ip());
        let option = syn.fast_open.filter(|option| !option.is_request());
        let origin = option.zip(ring).map(|(option, ring)| {
            let candidates = self.all_recent().chain(forensics::neighbours(source));
            forensics::origin(&option.cookie, source, destination, ring, candidates)
        });
        self.remember(source);
        origin.map(OriginReading::Of)
    }

    fn all_recent(&self) -> impl Iterator<Item = IpAddr> {
        (0..self.recent.0.len())
            .filter_map(|worker| self.recent.of(worker).map(|recent| recent.clone()))
            .flatten()
    }

    fn remember(&self, address: IpAddr) {
        let Some(mut recent) = self.recent.of(self.own) else { return };
        if recent.front() == Some(&address) {
            return;
        }
        recent.retain(|known| *known != address);
        recent.truncate(MAX_RECENT - 1);
        recent.push_front(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_clients_of_all_workers_are_remembered_once_each() {
        let recent = Arc::new(RecentClients::new(2));
        let [one, two] = [0, 1].map(|own| CookieForensics::new(Arc::clone(&recent), own));
        let address = |number: u8| IpAddr::from([192, 0, 2, number]);
        for number in (0..200).chain([150, 150, 199]) {
            one.remember(address(number));
        }
        two.remember(address(7));
        let all: Vec<_> = two.all_recent().collect();
        assert_eq!(all.len(), MAX_RECENT + 1);
        assert_eq!(all[..3], [address(199), address(150), address(198)]);
        assert_eq!(all[MAX_RECENT], address(7));
    }
}
