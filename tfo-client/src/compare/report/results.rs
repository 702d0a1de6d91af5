//! The results of all targets, and the titles that the reports share.

use crate::prose::counted;
use std::net::SocketAddr;

use super::words;
use crate::compare::comparison::{Comparison, FailedTarget};
use crate::compare::settings::CompareSettings;
use crate::config::file::Mode;
use crate::config::{Settings, Target};
use crate::prose;

/// The settings, and the results so far in the order of the targets.
pub(super) struct Results {
    pub(super) settings: Settings,
    pub(super) compare: CompareSettings,
    pub(super) targets: Vec<Result<Comparison, FailedTarget>>,
}

impl Results {
    pub(super) fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.targets.iter().filter_map(|result| result.as_ref().ok())
    }

    /// Returns the name of a target with its address, or with the lab's path: "example.org:443 (192.0.2.1:443)".
    pub(super) fn title(&self, target: &Target, address: SocketAddr) -> String {
        let name = target_name(target);
        let place = match &self.compare.lab {
            Some(network) => {
                let mut path = format!("lab, RTT {}", prose::time(Some(network.rtt)));
                if !network.jitter.is_zero() {
                    path += &format!(", jitter {}", prose::time(Some(network.jitter)));
                }
                if network.loss > 0.0 {
                    path += &format!(", loss {}", words::percent(network.loss));
                }
                for middlebox in &network.boxes {
                    path += &format!(", {middlebox}");
                }
                path
            }
            None if name == address.to_string() => String::new(),
            None => address.to_string(),
        };
        if place.is_empty() { name } else { format!("{name} ({place})") }
    }

    /// Describes the number of pairs, and the request of each connection.
    pub(super) fn plan(&self) -> String {
        let pairs = counted(self.compare.pairs, "pair", "pairs");
        let sides = if self.settings.probe.mode == Mode::Off {
            "regular connections"
        } else {
            "a regular connection and one with fast open"
        };
        let count = match self.compare.until_ci {
            None => pairs,
            Some(width) => {
                format!("until ± {}, at most {pairs}", words::percent(width))
            }
        };
        let message = if self.compare.job.sends_message() {
            format!("{} B of ", self.settings.payload.bytes())
        } else {
            String::new()
        };
        format!("{count} of {sides}; each: {message}{}", self.compare.job)
    }

    pub(super) fn interruption(&self, comparison: &Comparison) -> String {
        if comparison.interrupted {
            format!(
                "Interrupted after {} of {} pairs.\n\n",
                comparison.samples.len() / 2,
                self.compare.pairs
            )
        } else {
            String::new()
        }
    }
}

/// Returns the host and port of a target, in the format of `--server`.
pub(super) fn target_name(target: &Target) -> String {
    if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    }
}
