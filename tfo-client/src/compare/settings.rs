//! What is to be compared, as the flags say.

use std::path::PathBuf;

use super::job::JobSettings;
use crate::network::NetworkSettings;

#[derive(Debug, Clone)]
pub(super) struct CompareSettings {
    /// The most pairs.
    pub(super) pairs: usize,
    /// How far the intervals may reach from their values, as a share of the regular median.
    pub(super) until_ci: Option<f64>,
    pub(super) job: JobSettings,
    pub(super) targets: Option<PathBuf>,
    pub(super) lab: Option<NetworkSettings>,
    pub(super) files: Files,
}

/// What is written, and where.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) svg: Option<PathBuf>,
    pub(super) html: Option<PathBuf>,
    pub(super) json: Option<PathBuf>,
    pub(super) csv: Option<PathBuf>,
}
