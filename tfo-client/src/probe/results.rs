//! The results of a probe.

use std::net::SocketAddr;

use tfo_core::capture::PacketPath;
use tfo_core::diagnosis::{self, Balance, Outcome, Summary, Verdict};

use super::connection::ProbedConnection;

/// The connections so far, and the parameters of the probe.
pub(super) struct Results {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    /// The number of connections to make.
    pub(super) count: u32,
    pub(super) message_bytes: usize,
    /// Whether to count the keys behind the address.
    pub(super) counts_keys: bool,
    pub(super) connections: Vec<ProbedConnection>,
}

impl Results {
    pub(super) fn last_outcome(&self) -> Option<Outcome> {
        self.connections.last().map(|connection| connection.verdict.outcome)
    }

    pub(super) fn summary(&self) -> Summary {
        let verdicts: Vec<Verdict> =
            self.connections.iter().map(|connection| connection.verdict.clone()).collect();
        diagnosis::summarize(&verdicts)
    }

    /// Counts the keys behind the address; `None` without `--balance`.
    pub(super) fn balance(&self) -> Option<Balance> {
        let evidence = || self.connections.iter().map(|connection| connection.evidence.clone());
        self.counts_keys.then(|| diagnosis::balance(&evidence().collect::<Vec<_>>()))
    }

    /// Returns the traced packets of all connections.
    pub(super) fn packets(&self) -> Vec<PacketPath> {
        self.connections.iter().flat_map(|connection| connection.packets.iter().cloned()).collect()
    }
}
