#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::path::PathBuf;

use clap::Args;
use tfo_core::cli::{FlagValues, Integer};

use crate::{config::server_address::ServerAddress, network::NetworkFlags};

/// Hops to look at.
type MaxHops = Integer<1, 60>;

const AFTER_HELP: &str = "\
SYNs with a small TTL end at a hop, which answers by ICMP and quotes the SYN as it arrived there. Regular
SYNs and SYNs with the fast open option, with a cookie and with data take turns; what happens to the
ones and not to the others lies between two hops. Needs neither root nor a capability.

Data in a SYN ends in front of the first hop that answers TCP, and never reaches the target, unless
--to-target allows it. With tfo-server at the target, --to-target lets its mirror tell what arrived: that
closes the gap behind the last hop, and shows the way back.

In the table `ok` is a SYN that came there as it was sent, `(ok)` one of which the router quotes too little
to say so, `silent` one that got no answer where regular ones did, and `*` a hop that answers nothing.

Routers limit their ICMP errors, often to one a second. Where a hop falls silent the pace slows down, and
a run takes as long as it takes; Ctrl-C ends it, and shows what there is by then.

Exit status: 0 nothing on the path breaks fast open, 1 something does, or it does not work from end to
end, 2 wrong usage or bad configuration, 3 neither the target nor any hop answers.

Examples:
  tfo-client path example.org:443          which hop changes or drops SYNs of fast open?
  tfo-client path 192.0.2.2 --to-target    with tfo-server there
  tfo-client path --lab --hops 6 --hop 3:drop-syn-data
  tfo-client path HOST --all --report path.md";

#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PathFlags {
    /// Host to look for, as for --server
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: Option<ServerAddress>,

    /// Send each kind of SYN to each hop, even where fast open works
    #[arg(long)]
    pub(super) all: bool,

    /// Let data reach the target: first bytes as those of the probe
    #[arg(long)]
    pub(super) to_target: bool,

    /// Last hop to look at, 1 to 60 [default: 30]
    #[arg(long, value_name = "N")]
    max_hops: Option<MaxHops>,

    /// Write what to send to those who run the network there (Markdown)
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Look at the lab: two hosts and a path on this machine, which the flags below describe
    #[arg(long)]
    pub(super) lab: bool,

    #[command(flatten)]
    pub(super) network: NetworkFlags,
}

impl PathFlags {
    /// Returns the settings that these flags set.
    pub(crate) fn values(&self) -> FlagValues {
        FlagValues::default().with("HOST", "server.address", self.host.as_ref())
    }

    /// Returns an error message if flags exclude each other or need another one.
    pub(crate) fn conflict(&self) -> Option<&'static str> {
        let described = self.network != NetworkFlags::default();
        if described && !self.lab {
            Some("flags that describe the lab's path need --lab")
        } else if self.lab && self.host.is_some() {
            Some("--lab uses the lab's own server: omit HOST")
        } else {
            None
        }
    }

    /// Returns the last hop to probe.
    pub(super) fn max_hops(&self) -> u8 {
        self.max_hops.map_or(30, |hops| u8::try_from(hops.get()).unwrap_or(60))
    }
}
