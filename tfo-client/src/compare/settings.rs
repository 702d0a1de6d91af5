//! The settings of a comparison, as the flags describe them.

use std::path::PathBuf;

use super::job::JobSettings;
use crate::network::NetworkSettings;

#[derive(Debug, Clone)]
pub(super) struct CompareSettings {
    /// The maximum number of pairs.
    pub(super) pairs: usize,
    /// How far the intervals may extend from their values, as a share of the regular median.
    pub(super) until_ci: Option<f64>,
    pub(super) job: JobSettings,
    pub(super) targets: Option<PathBuf>,
    pub(super) lab: Option<NetworkSettings>,
    pub(super) files: Files,
    /// Whether the page has a table of all connections.
    pub(super) samples: bool,
    /// Whether plots have ASCII characters only.
    pub(super) ascii: bool,
}

/// The files to write.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) svg: Option<PathBuf>,
    pub(super) html: Option<PathBuf>,
    pub(super) json: Option<PathBuf>,
    pub(super) csv: Option<PathBuf>,
}
