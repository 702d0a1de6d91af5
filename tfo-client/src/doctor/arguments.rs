#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tfo_core::{
    cli::{Integer, Period},
    host::readiness::Role,
};

/// The time between two frames.
type WatchInterval = Period<100, 3_600_000>;
/// The number of frames.
type Frames = Integer<1, 1_000_000>;

const AFTER_HELP: &str = "\
Needs no privileges, sends nothing and changes nothing. Checks this network namespace: in a
container, the container's. As root it also reports whether a key is set, and the processes of other
users.

Exit status: 0 ready, 1 not ready (a finding is a problem), 2 wrong usage, or this host's settings
can't be read. Checks both halves, client and server, or the one given by --only. With --watch the
last frame decides. With --metrics the status is 0: the metrics contain the findings.

Examples:
  tfo-client doctor                        check this host, and show how fast open is used
  tfo-client doctor --only client          check a host that only connects
  tfo-client doctor --watch 1s             show rates too, until q is pressed
  tfo-client doctor -o json --watch        print one document per line, for programs
  tfo-client doctor --metrics /var/lib/prometheus/node-exporter/tfo.prom --watch 15s";

#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP, next_display_order = 10)]
pub(crate) struct DoctorFlags {
    /// Check and show one half only: client or server
    #[arg(long, value_name = "HALF", value_enum, hide_possible_values = true)]
    only: Option<Only>,

    /// Print metrics for Prometheus, or write them to FILE, for the textfile collector of node_exporter
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    metrics: Option<PathBuf>,

    /// Check again every 2s, or every INTERVAL (100ms to 1h), and show rates per second
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<WatchInterval>,

    /// Exit after N frames, 1 to 1000000
    #[arg(long, value_name = "N", requires = "watch")]
    frames: Option<Frames>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Client,
    Server,
}

/// Where metrics are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum MetricsTarget<'a> {
    Stdout,
    /// A file that readers always find complete.
    File(&'a Path),
}

impl DoctorFlags {
    /// Returns the half that is checked and shown.
    pub(super) fn half(&self) -> Role {
        match self.only {
            None => Role::Both,
            Some(Only::Client) => Role::Client,
            Some(Only::Server) => Role::Server,
        }
    }

    /// Returns where to write metrics; `None` without `--metrics`.
    pub(super) fn metrics(&self) -> Option<MetricsTarget<'_>> {
        self.metrics.as_deref().map(|path| match path.to_str() {
            Some("-") => MetricsTarget::Stdout,
            _ => MetricsTarget::File(path),
        })
    }

    /// Returns the time between two frames; `None` without `--watch`.
    pub(super) fn watch(&self) -> Option<Duration> {
        self.watch.map(WatchInterval::get)
    }

    /// Returns the number of frames; `None` if unlimited.
    pub(super) fn frames(&self) -> Option<u32> {
        self.frames.map(Frames::get)
    }
}
