//! The result for one target.

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
    /// Whether the user interrupted the measurement.
    pub(super) interrupted: bool,
    /// A regular connection and one with fast open, with their packets, if these can be captured.
    pub(super) typical: Option<[(Sample, Vec<PacketPath>); 2]>,
}

/// A target that could not be measured.
pub(super) struct FailedTarget {
    pub(super) target: Target,
    pub(super) reason: String,
    /// What to do next; may be empty.
    pub(super) advice: String,
    /// Whether the reason is that no connection could be established.
    pub(super) no_connection: bool,
}
