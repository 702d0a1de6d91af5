//! What to explore, and what was found.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tfo_core::diagnosis::{Outcome, Verdict};
use tfo_core::path::{Conclusion, EndToEnd, PathMap, SynKind};

use crate::network::NetworkSettings;

/// What to explore.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) all: bool,
    pub(super) to_target: bool,
    pub(super) max_hops: u8,
    /// The lab's network, if the path is one of the lab.
    pub(super) lab: Option<NetworkSettings>,
}

/// The result of exploring a path.
pub(super) struct Exploration {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) map: PathMap,
    pub(super) ends: Vec<EndToEnd>,
    pub(super) conclusion: Conclusion,
    /// Whether the target granted a cookie to a request without data, where that was tried.
    pub(super) granted: Option<bool>,
    /// A regular connection came about.
    pub(super) connects: bool,
    /// The kinds of SYNs that this host can send there.
    pub(super) kinds: Vec<SynKind>,
    pub(super) wish: Wish,
    /// The flags that choose where packets leave, each after a blank.
    pub(super) from: String,
    pub(super) began: SystemTime,
    pub(super) took: Duration,
}

impl Exploration {
    /// The verdict on the last connection from end to end.
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.ends.last().map(|end| &end.verdict)
    }

    /// Whether the target told what arrived.
    pub(super) fn is_mirrored(&self) -> bool {
        self.ends.iter().any(EndToEnd::is_mirrored)
    }

    /// Whether fast open works from end to end; `None`: that was not tried, because it takes data.
    pub(super) fn works(&self) -> Option<bool> {
        let last = self.verdict()?.outcome == Outcome::FastOpen;
        Some(last && self.failed_elsewhere().is_none())
    }

    /// A connection that failed, where a later one from another port did not.
    pub(super) fn failed_elsewhere(&self) -> Option<&EndToEnd> {
        let last = self.ends.last()?;
        let works = last.verdict.outcome == Outcome::FastOpen;
        self.ends.iter().find(|end| works && end.is_broken())
    }

    /// Returns the command that explores this path, with more flags, in backticks.
    pub(super) fn command(&self, more: &str) -> String {
        if let Some(lab) = &self.wish.lab {
            return lab.command("path --lab", more);
        }
        let line = format!("tfo-client path {}{} {more}", self.address, self.from);
        format!("`{}`", line.trim_end())
    }

    /// Whether anybody answered.
    pub(super) fn is_answered(&self) -> bool {
        self.connects || self.map.distance().is_some() || !self.map.hops().is_empty()
    }
}
