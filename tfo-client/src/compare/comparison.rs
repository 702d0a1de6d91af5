//! What became of a target.

use std::net::SocketAddr;

use tfo_core::capture::PacketPath;

use super::analysis::Analysis;
use super::sample::Sample;
use crate::config::Target;

/// The comparison for one target.
pub(super) struct Comparison {
    pub(super) target: Target,
    pub(super) address: SocketAddr,
    pub(super) samples: Vec<Sample>,
    pub(super) analysis: Analysis,
    /// Somebody did not want to wait.
    pub(super) interrupted: bool,
    /// A regular connection and one with fast open, with their packets, where they can be seen.
    pub(super) typical: Option<[(Sample, Vec<PacketPath>); 2]>,
}

/// A target that could not be measured.
pub(super) struct FailedTarget {
    pub(super) target: Target,
    pub(super) why: String,
    /// What to do next; may be empty.
    pub(super) advice: String,
    /// Nothing is wrong but that there is no connection.
    pub(super) no_connection: bool,
}
