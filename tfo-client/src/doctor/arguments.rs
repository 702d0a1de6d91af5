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

/// Time between two frames.
type WatchInterval = Period<100, 3_600_000>;
/// How many frames.
type Frames = Integer<1, 1_000_000>;

const AFTER_HELP: &str = "\
It needs no privilege, sends nothing and changes nothing. It is
about this network namespace: in a container it is about the container. Run as root it also sees
whether there is a key, and the processes of other users.

Exit status: 0 ready, 1 not ready (a finding is a problem), 2 wrong usage, or this host can't be
read. Both halves are judged, client and server, or the one that --only names. With --watch the
last frame decides. With --metrics it is 0: the metrics contain the findings.

Examples:
  tfo-client doctor                        is this host ready, and what does it do?
  tfo-client doctor --only client          a host that only connects
  tfo-client doctor --watch 1s             with rates, until Ctrl-C
  tfo-client doctor -o json --watch        one document a line, for programs
  tfo-client doctor --metrics /var/lib/prometheus/node-exporter/tfo.prom --watch 15s";

#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP, next_display_order = 10)]
pub(crate) struct DoctorFlags {
    /// Judge and show one half alone: client (what this host connects to) or server
    #[arg(long, value_name = "HALF", value_enum, hide_possible_values = true)]
    only: Option<Only>,

    /// Print metrics for Prometheus, or replace FILE by them, for the textfile collector of node_exporter
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    metrics: Option<PathBuf>,

    /// Look again every 2s, or INTERVAL (100ms to 1h), and show rates per second
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<WatchInterval>,

    /// End after so many frames, 1 to 1000000
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
    /// What is judged and shown.
    pub(super) fn half(&self) -> Role {
        match self.only {
            None => Role::Both,
            Some(Only::Client) => Role::Client,
            Some(Only::Server) => Role::Server,
        }
    }

    /// Whether the report is metrics, and where they are written.
    pub(super) fn metrics(&self) -> Option<MetricsTarget<'_>> {
        self.metrics.as_deref().map(|path| match path.to_str() {
            Some("-") => MetricsTarget::Stdout,
            _ => MetricsTarget::File(path),
        })
    }

    /// Look again after this time.
    pub(super) fn watch(&self) -> Option<Duration> {
        self.watch.map(WatchInterval::get)
    }

    /// How many times, if not for ever.
    pub(super) fn frames(&self) -> Option<u32> {
        self.frames.map(Frames::get)
    }
}
