//! Whose cookie did a SYN bring?

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tfo_core::cookie::KeyRing;
use tfo_core::cookie::forensics::{self, Origin};
use tfo_core::socket::Arrival;

/// Whose cookie it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CookieOrigin {
    /// The kernel has other keys than this server knows, and does not let it read them.
    Unknown,
    /// Of these keys, or of none of them.
    #[serde(untagged)]
    Of(Origin),
}

impl CookieOrigin {
    /// Whether the kernel did not do what it does with such a cookie: the keys may have changed.
    pub(crate) fn is_contradicted_by(self, arrival: &Arrival) -> bool {
        let Self::Of(origin) = self else { return false };
        let payload = arrival.syn.saved().map_or(0, |syn| syn.payload_bytes);
        let accepted = arrival.tcp.syn_data || arrival.tcp.tfo_child;
        if origin.is_accepted() { payload > 0 && !accepted } else { accepted }
    }
}

impl fmt::Display for CookieOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(origin) => origin.fmt(f),
            Self::Unknown => f.write_str("of unknown origin"),
        }
    }
}

/// How many clients' addresses each worker remembers.
const MAX_RECENT: usize = 64;

/// Tells the origin of cookies, and remembers for that who has been here.
///
/// A refused cookie may have been made for another address: one that a translator gave to the client
/// before. The addresses of recent clients are tried, and those of the client's own IPv4 network, at a
/// cost of some ten microseconds; only a client that has made a whole handshake can cause it.
#[derive(Debug)]
pub(crate) struct CookieForensics {
    recent: Arc<RecentClients>,
    /// Which of them is this worker's.
    own: usize,
}

/// The addresses of the clients that each worker had last. A worker writes its own alone, and reads the
/// others' only when a cookie is strange: they are in nobody's way.
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

    /// The origin of the cookie in the SYN of this connection; `None` without a cookie, and when no
    /// key is known.
    pub(crate) fn origin(&self, arrival: &Arrival, ring: Option<&KeyRing>) -> Option<CookieOrigin> {
        let syn = arrival.syn.saved()?;
        let (source, destination) = (arrival.peer.ip().to_canonical(), syn.destination?.ip());
        let option = syn.fast_open.filter(|option| !option.is_request());
        let origin = option.zip(ring).map(|(option, ring)| {
            let candidates = self.all_recent().chain(forensics::neighbours(source));
            forensics::origin(&option.cookie, source, destination, ring, candidates)
        });
        self.remember(source);
        origin.map(CookieOrigin::Of)
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
    fn the_latest_clients_are_remembered_once_each_and_of_all_workers() {
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
