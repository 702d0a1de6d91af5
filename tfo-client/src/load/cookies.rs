//! Checks whether the server granted a cookie to a source address. Only this host's cookie cache shows that.

use std::net::IpAddr;

use tfo_core::host::cookie_cache;

/// The minimum time between two checks of the cache for one source, in nanoseconds. If the server never grants a
/// cookie, every connection requests one.
const CHECK_INTERVAL: u64 = 100_000_000;

/// The source addresses of one thread, and whether they were granted a cookie.
#[derive(Debug)]
pub(super) struct Cookies {
    server: IpAddr,
    sources: Vec<Source>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    address: Option<IpAddr>,
    /// Whether a cookie was found in the cache after a connection had requested one.
    granted: bool,
    next_check: u64,
}

impl Cookies {
    pub(super) fn new(server: IpAddr, sources: &[Option<IpAddr>]) -> Self {
        let source =
            |address: &Option<IpAddr>| Source { address: *address, granted: false, next_check: 0 };
        Self { server, sources: sources.iter().map(source).collect() }
    }

    /// Checks the cache, after a connection from this source requested a cookie and was answered.
    pub(super) fn requested(&mut self, source: usize, now: u64) {
        let Some(source) = self.sources.get_mut(source) else { return };
        if !source.granted && now >= source.next_check {
            source.next_check = now.saturating_add(CHECK_INTERVAL);
            let entry = cookie_cache::get(source.address, self.server).ok().flatten();
            source.granted = entry.is_some_and(|entry| entry.cookie.is_some());
        }
    }

    /// Returns for each source whether a cookie was granted.
    pub(super) fn granted(&self) -> impl Iterator<Item = bool> {
        self.sources.iter().map(|source| source.granted)
    }
}
