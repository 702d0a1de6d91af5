//! The load of the listeners of this host, and the listeners that drop connections.

use std::net::SocketAddr;

use super::{Finding, NamedListener};
use crate::host::{AcceptQueue, Counters, Listener, Owners};

/// The load of the listeners of a network namespace.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListenerLoad {
    /// The counters since the namespace was created.
    pub counters: Counters,
    /// The listeners, each with its accept queue.
    pub queues: Vec<(NamedListener, AcceptQueue)>,
    /// The local addresses of unfinished handshakes.
    pub handshakes: Vec<SocketAddr>,
}

impl ListenerLoad {
    /// Joins the listeners with their accept queues.
    #[must_use]
    pub fn new(
        listeners: &[Listener],
        queues: Vec<AcceptQueue>,
        handshakes: Vec<SocketAddr>,
        counters: Counters,
        owners: &Owners,
    ) -> Self {
        let named = |queue: AcceptQueue| {
            let found = listeners.iter().find(|listener| listener.inode == queue.inode)?;
            Some((NamedListener::new(found, owners), queue))
        };
        Self { counters, queues: queues.into_iter().filter_map(named).collect(), handshakes }
    }

    /// Adds the findings on listeners whose accept queue is full now, and on those that have dropped connections.
    /// `all`: these are all listeners of the namespace, so a listener that is missing has closed.
    pub(super) fn judge(&self, syncookies: Option<u32>, all: bool, findings: &mut Vec<Finding>) {
        for (listener, queue) in self.queues.iter().filter(|(_, queue)| queue.is_full()) {
            let (waiting, limit) = (queue.waiting, queue.limit);
            findings.push(Finding::AcceptQueueFull { listener: listener.clone(), waiting, limit });
        }
        let mut droppers: Vec<_> =
            self.queues.iter().filter(|(_, queue)| queue.drops > 0).collect();
        droppers.sort_by_key(|(_, queue)| std::cmp::Reverse(queue.drops));
        if self.counters.accept_overflows > 0 && (all || !droppers.is_empty()) {
            findings.push(Finding::AcceptQueueOverflowed {
                times: self.counters.accept_overflows,
                listeners: droppers.into_iter().map(|(listener, _)| listener.clone()).collect(),
            });
        }
        // With 2 every SYN gets one, which is a finding of its own.
        if self.counters.syncookies_sent > 0 && syncookies.is_none_or(|value| value < 2) {
            findings.push(Finding::SyncookiesSent {
                times: self.counters.syncookies_sent,
                listeners: self.flooded(),
            });
        }
    }

    /// Returns the listeners that have reached their limit of unfinished handshakes.
    fn flooded(&self) -> Vec<NamedListener> {
        let flooded = self.queues.iter().filter(|(listener, queue)| {
            let unfinished =
                self.handshakes.iter().filter(|local| is_at(listener.address, **local));
            unfinished.count() >= usize::try_from(queue.limit.max(1)).unwrap_or(usize::MAX)
        });
        flooded.map(|(listener, _)| listener.clone()).collect()
    }
}

/// Returns whether a connection with this local address belongs to the listener.
fn is_at(listener: SocketAddr, local: SocketAddr) -> bool {
    let ip = listener.ip();
    listener.port() == local.port()
        && (ip.is_unspecified() || ip.to_canonical() == local.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Process;

    fn listener(processes: &[&str]) -> NamedListener {
        NamedListener {
            address: ([0, 0, 0, 0], 80).into(),
            uid: 33,
            fast_open_queue: 0,
            processes: processes
                .iter()
                .zip(812..)
                .map(|(name, pid)| Process { pid, name: (*name).to_owned() })
                .collect(),
        }
    }

    fn load(waiting: u32, drops: u32, handshakes: usize, counters: Counters) -> ListenerLoad {
        let address = ([0, 0, 0, 0], 80).into();
        let queue = AcceptQueue { address, uid: 33, inode: 1, waiting, limit: 4, drops };
        ListenerLoad {
            counters,
            queues: vec![(listener(&["nginx"]), queue)],
            handshakes: vec![([192, 0, 2, 1], 80).into(); handshakes],
        }
    }

    fn codes(load: &ListenerLoad, syncookies: u32) -> Vec<(&'static str, String)> {
        let mut findings = Vec::new();
        load.judge(Some(syncookies), true, &mut findings);
        findings.iter().map(|finding| (finding.code(), finding.what())).collect()
    }

    #[test]
    fn listener_is_named_by_its_processes() {
        assert_eq!(listener(&["nginx"]).to_string(), "0.0.0.0:80 (nginx, pid 812)");
        assert_eq!(
            listener(&["a\x1b[2J", "b"]).to_string(),
            "0.0.0.0:80 (a[2J, pid 812 and 1 more)"
        );
        assert_eq!(listener(&[]).to_string(), "0.0.0.0:80 (of user 33)");
    }

    #[test]
    fn idle_listener_is_no_finding() {
        assert_eq!(codes(&load(4, 0, 3, Counters::default()), 1), []);
        let dropped = Counters { listen_drops: 7, ..Counters::default() };
        assert_eq!(codes(&load(0, 7, 0, dropped), 1), [], "dropped for another reason");
    }

    #[test]
    fn full_queue_and_lost_connections_name_the_listener() {
        let overflowed = Counters { accept_overflows: 3, listen_drops: 3, ..Counters::default() };
        let found = codes(&load(5, 3, 0, overflowed), 1);
        let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["accept-queue-full", "accept-queue-overflowed"]);
        assert!(
            found.iter().all(|(_, what)| what.contains("0.0.0.0:80 (nginx, pid 812)")),
            "{found:?}"
        );
    }

    #[test]
    fn sent_syncookies_name_the_listener_and_2_is_no_overload() {
        let sent = Counters { syncookies_sent: 9, ..Counters::default() };
        let found = codes(&load(0, 0, 4, sent), 1);
        assert!(found[0].1.contains("9 SYNs") && found[0].1.contains("nginx"), "{found:?}");
        let found = codes(&load(0, 0, 3, sent), 1);
        assert!(!found[0].1.contains("nginx"), "it is not full now: {found:?}");
        assert_eq!(codes(&load(0, 0, 4, sent), 2), []);
    }
}
