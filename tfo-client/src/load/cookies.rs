//! Whether the server granted a cookie to a source address: only this host's cache tells.

use std::net::IpAddr;

use tfo_core::host::cookie_cache;

/// Between two looks at the cache for one source, in nanoseconds: where no cookie is ever granted each
/// connection asks.
const PAUSE: u64 = 100_000_000;

/// What one thread knows of the sources.
#[derive(Debug)]
pub(super) struct Cookies {
    server: IpAddr,
    sources: Vec<Source>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    address: Option<IpAddr>,
    /// A cookie was seen in the cache after a connection had asked for one.
    granted: bool,
    look_again: u64,
}

impl Cookies {
    pub(super) fn new(server: IpAddr, sources: &[Option<IpAddr>]) -> Self {
        let source =
            |address: &Option<IpAddr>| Source { address: *address, granted: false, look_again: 0 };
        Self { server, sources: sources.iter().map(source).collect() }
    }

    /// A connection of this source had no cookie, and has its answer.
    pub(super) fn asked(&mut self, source: usize, now: u64) {
        let Some(source) = self.sources.get_mut(source) else { return };
        if !source.granted && now >= source.look_again {
            source.look_again = now.saturating_add(PAUSE);
            let entry = cookie_cache::get(source.address, self.server).ok().flatten();
            source.granted = entry.is_some_and(|entry| entry.cookie.is_some());
        }
    }

    /// Whether a cookie was granted, source by source.
    pub(super) fn granted(&self) -> impl Iterator<Item = bool> {
        self.sources.iter().map(|source| source.granted)
    }
}
