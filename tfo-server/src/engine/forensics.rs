//! Whose cookie did a SYN bring?

use std::collections::VecDeque;
use std::net::IpAddr;

use tfo_core::cookie::forensics::{self, Origin};
use tfo_core::cookie::{FastOpenCookie, KeyRing};
use tfo_core::socket::{Arrival, ArrivalSyn};

/// How many clients' addresses are remembered.
const RECENT: usize = 64;

/// Tells the origin of cookies, and remembers for that who has been here.
///
/// A refused cookie may have been made for another address: one that a translator gave to the client
/// before. The addresses of recent clients are tried, and those of the client's own IPv4 network, at a
/// cost of some ten microseconds; only a client that has made a whole handshake can cause it.
#[derive(Debug, Default)]
pub(super) struct Forensics {
    recent: VecDeque<IpAddr>,
}

impl Forensics {
    /// The origin of the cookie in the SYN of this connection; `None` without a cookie, and when no
    /// key is known.
    pub(super) fn origin(&mut self, arrival: &Arrival, ring: Option<&KeyRing>) -> Option<Origin> {
        let ArrivalSyn::Saved(syn) = &arrival.syn else { return None };
        let (source, destination) = (syn.source().ip(), syn.destination().ip());
        let cookie = syn.fast_open().filter(|option| !option.is_request());
        let cookie = cookie.and_then(|option| FastOpenCookie::new(option.cookie).ok());
        let origin = cookie.zip(ring).map(|(cookie, ring)| {
            let candidates = self.recent.iter().copied().chain(forensics::neighbours(source));
            forensics::origin(&cookie, source, destination, ring, candidates)
        });
        self.remember(source);
        origin
    }

    fn remember(&mut self, address: IpAddr) {
        if self.recent.front() == Some(&address) {
            return;
        }
        self.recent.retain(|known| *known != address);
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_clients_are_remembered_once_each() {
        let mut forensics = Forensics::default();
        let address = |number: u8| IpAddr::from([192, 0, 2, number]);
        for number in (0..200).chain([150, 150, 199]) {
            forensics.remember(address(number));
        }
        assert_eq!(forensics.recent.len(), RECENT);
        assert_eq!(
            forensics.recent.iter().take(3).collect::<Vec<_>>(),
            [&address(199), &address(150), &address(198)]
        );
    }
}
