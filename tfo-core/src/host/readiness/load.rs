//! How loaded the listeners of this host are, and which of them lose connections.

use std::net::SocketAddr;

use super::{Finding, NamedListener};
use crate::host::{AcceptQueue, ListenCounters, Listener, Owners};

/// How loaded the listeners of a network namespace are.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListenerLoad {
    /// What was lost since the namespace was made.
    pub counters: ListenCounters,
    /// The listeners, each with its accept queue.
    pub queues: Vec<(NamedListener, AcceptQueue)>,
    /// This host's ends of handshakes that have begun and not ended.
    pub handshakes: Vec<SocketAddr>,
}

impl ListenerLoad {
    /// Joins the listeners with their accept queues.
    #[must_use]
    pub fn new(
        listeners: &[Listener],
        queues: Vec<AcceptQueue>,
        handshakes: Vec<SocketAddr>,
        counters: ListenCounters,
        owners: &Owners,
    ) -> Self {
        let named = |queue: AcceptQueue| {
            let found = listeners.iter().find(|listener| listener.inode == queue.inode)?;
            Some((NamedListener::new(found, owners), queue))
        };
        Self { counters, queues: queues.into_iter().filter_map(named).collect(), handshakes }
    }

    /// What the load means: for a listener whose queue is full now, and for those that have lost connections.
    /// `all`: these are all listeners of the namespace, so that one that is not among them has closed.
    pub(super) fn judge(&self, syncookies: Option<u32>, all: bool, findings: &mut Vec<Finding>) {
        for (listener, queue) in self.queues.iter().filter(|(_, queue)| queue.is_full()) {
            let (waiting, limit) = (queue.waiting, queue.limit);
            findings.push(Finding::AcceptQueueFull { listener: listener.clone(), waiting, limit });
        }
        let mut droppers: Vec<_> =
            self.queues.iter().filter(|(_, queue)| queue.drops > 0).collect();
        droppers.sort_by_key(|(_, queue)| std::cmp::Reverse(queue.drops));
        if self.counters.overflows > 0 && (all || !droppers.is_empty()) {
            findings.push(Finding::AcceptQueueOverflowed {
                times: self.counters.overflows,
                listeners: droppers.into_iter().map(|(listener, _)| listener.clone()).collect(),
            });
        }
        // With 2 they are sent always, and that is a finding of its own.
        if self.counters.syncookies_sent > 0 && syncookies.is_none_or(|value| value < 2) {
            findings.push(Finding::SyncookiesSent {
                times: self.counters.syncookies_sent,
                listeners: self.flooded(),
            });
        }
    }

    /// The listeners with as many unfinished handshakes as they may have.
    fn flooded(&self) -> Vec<NamedListener> {
        let flooded = self.queues.iter().filter(|(listener, queue)| {
            let unfinished =
                self.handshakes.iter().filter(|local| is_at(listener.address, **local));
            unfinished.count() >= usize::try_from(queue.limit.max(1)).unwrap_or(usize::MAX)
        });
        flooded.map(|(listener, _)| listener.clone()).collect()
    }
}

/// Whether a connection with this local address belongs to the listener.
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

    fn load(waiting: u32, drops: u32, handshakes: usize, counters: ListenCounters) -> ListenerLoad {
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
        assert_eq!(codes(&load(4, 0, 3, ListenCounters::default()), 1), []);
        let dropped = ListenCounters { drops: 7, ..ListenCounters::default() };
        assert_eq!(codes(&load(0, 7, 0, dropped), 1), [], "dropped for another reason");
    }

    #[test]
    fn full_queue_and_lost_connections_name_the_listener() {
        let overflowed = ListenCounters { overflows: 3, drops: 3, ..ListenCounters::default() };
        let found = codes(&load(5, 3, 0, overflowed), 1);
        let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["accept-queue-full", "accept-queue-overflowed"]);
        assert!(
            found.iter().all(|(_, what)| what.contains("0.0.0.0:80 (nginx, pid 812)")),
            "{found:?}"
        );
    }

    #[test]
    fn syncookies_name_the_listener_whose_queue_is_full_and_2_is_no_overload() {
        let sent = ListenCounters { syncookies_sent: 9, ..ListenCounters::default() };
        let found = codes(&load(0, 0, 4, sent), 1);
        assert!(found[0].1.contains("9 SYNs") && found[0].1.contains("nginx"), "{found:?}");
        let found = codes(&load(0, 0, 3, sent), 1);
        assert!(!found[0].1.contains("nginx"), "it is not full now: {found:?}");
        assert_eq!(codes(&load(0, 0, 4, sent), 2), []);
    }
}
