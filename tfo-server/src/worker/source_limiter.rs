//! Limits the number of connections per source address.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Enough shards that two workers rarely use the same one.
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
    /// Counts a connection, unless the address has `max` already. Returns whether it was counted.
    pub(crate) fn enter(&self, address: IpAddr, max: u32) -> bool {
        let address = address.to_canonical();
        let mut shard = self.shard(address);
        let count = shard.entry(address).or_default();
        let room = *count < max;
        if room {
            *count += 1;
        }
        room
    }

    /// Removes a counted connection.
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
    fn source_at_its_limit_is_refused_until_one_leaves() {
        let sources = SourceLimiter::default();
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(
            sources.enter(one, 2) && sources.enter(mapped, 2),
            "an IPv4-mapped address is the same address"
        );
        assert!(!sources.enter(one, 2));
        assert!(sources.enter(other, 2), "another address is not affected");
        sources.leave(mapped);
        assert!(sources.enter(one, 2));
        sources.leave(one);
        sources.leave(one);
        sources.leave(other);
        assert!(
            sources.0.iter().all(|shard| shard.lock().unwrap().is_empty()),
            "no empty entries remain"
        );
    }
}
