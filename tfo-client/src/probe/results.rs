//! The results of a probe.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::process::ExitCode;

use tfo_core::capture::PacketPath;
use tfo_core::diagnosis::{self, Balance, Outcome, Summary, Verdict};

use super::connection::ProbedConnection;
use crate::output::NO_CONNECTION;

/// The number of connections that are kept: as many as `--count` allows, so that only `--forever` drops any.
const KEPT: usize = 10_000;

/// The connections so far, and the parameters of the probe.
pub(super) struct Results {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    /// The number of connections to make; `None`: until Ctrl-C.
    pub(super) count: Option<u32>,
    pub(super) message_bytes: usize,
    /// Whether to count the keys behind the address.
    pub(super) counts_keys: bool,
    /// The last connections, at most [`KEPT`].
    pub(super) connections: VecDeque<ProbedConnection>,
    /// The number of connections with each outcome.
    pub(super) tally: BTreeMap<&'static str, u32>,
}

impl Results {
    /// Adds a connection, and drops the oldest of too many.
    pub(super) fn add(&mut self, connection: ProbedConnection) {
        *self.tally.entry(connection.verdict.outcome.as_str()).or_default() += 1;
        if self.connections.len() == KEPT {
            self.connections.pop_front();
        }
        self.connections.push_back(connection);
    }

    /// Returns the number of connections, of those that were dropped as well.
    pub(super) fn made(&self) -> u32 {
        self.tally.values().sum()
    }

    pub(super) fn is_mirrored(&self) -> bool {
        self.connections.iter().any(|connection| connection.mirrored)
    }

    /// Returns the exit status for the last connection.
    pub(super) fn status(&self) -> u8 {
        status(self.connections.back().map(|connection| connection.verdict.outcome))
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

/// Exit status if the last connection's data was sent in the SYN and accepted.
const FAST_OPEN: u8 = 0;
/// Exit status if the last connection was established, but not by fast open.
const REGULAR: u8 = 1;

fn status(last: Option<Outcome>) -> u8 {
    match last {
        Some(Outcome::FastOpen) => FAST_OPEN,
        None | Some(Outcome::Failed) => NO_CONNECTION,
        Some(_) => REGULAR,
    }
}

/// Returns the exit status for the outcome of the last connection.
pub(crate) fn exit_status(last: Option<Outcome>) -> ExitCode {
    ExitCode::from(status(last))
}
