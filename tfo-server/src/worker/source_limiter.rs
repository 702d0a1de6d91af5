//! How many connections each source address has.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Enough that two workers rarely meet.
const SHARDS: usize = 64;

/// Counts the connections of each address, for all workers.
#[derive(Debug)]
pub(crate) struct SourceLimiter([Mutex<HashMap<IpAddr, u32>>; SHARDS]);

impl Default for SourceLimiter {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl SourceLimiter {
    /// Counts one more connection, unless the address has `most` already. Returns whether it was counted.
    pub(crate) fn enter(&self, address: IpAddr, most: u32) -> bool {
        let address = address.to_canonical();
        let mut shard = self.shard(address);
        let count = shard.entry(address).or_default();
        let room = *count < most;
        if room {
            *count += 1;
        }
        room
    }

    /// Removes a connection that was counted.
    pub(crate) fn leave(&self, address: IpAddr) {
        let address = address.to_canonical();
        if let Entry::Occupied(mut entry) = self.shard(address).entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let mut hasher = DefaultHasher::new();
        address.hash(&mut hasher);
        let [low, ..] = hasher.finish().to_le_bytes();
        let shard = &self.0[usize::from(low) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let sources = SourceLimiter::default();
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(sources.enter(one, 2) && sources.enter(mapped, 2), "one address in two forms");
        assert!(!sources.enter(one, 2));
        assert!(sources.enter(other, 2), "of no concern to others");
        sources.leave(mapped);
        assert!(sources.enter(one, 2));
        sources.leave(one);
        sources.leave(one);
        sources.leave(other);
        assert!(sources.0.iter().all(|shard| shard.lock().unwrap().is_empty()), "nothing is kept");
    }
}
