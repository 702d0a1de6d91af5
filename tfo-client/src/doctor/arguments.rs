#![allow(rustdoc::broken_intra_doc_links, reason = "the comments are the help that users read")]

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
It needs no privilege, sends nothing and changes nothing; -s, -p, -4 and -6 play no part. It is
about this network namespace: in a container it is about the container. Run as root it also sees
whether there is a key, and the processes of other users.

Exit status: 0 ready, 1 not ready (a finding is a problem), 2 wrong usage, or this host can't be
read. Both halves are judged, client and server, or the one that --only names. With --watch the
last frame decides.

Examples:
  tfo-client doctor                        is this host ready, and what does it do?
  tfo-client doctor --only client          a host that only connects
  tfo-client doctor --watch 1s             with rates, until Ctrl-C
  tfo-client doctor -o json --watch        one document a line, for programs";

#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP, next_display_order = 10)]
pub(crate) struct DoctorFlags {
    /// Judge and show one half alone: client (what this host connects to) or server
    #[arg(long, value_name = "HALF", value_enum, hide_possible_values = true)]
    only: Option<Only>,

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

impl DoctorFlags {
    /// What is judged and shown.
    pub(super) fn half(&self) -> Role {
        match self.only {
            None => Role::Both,
            Some(Only::Client) => Role::Client,
            Some(Only::Server) => Role::Server,
        }
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
