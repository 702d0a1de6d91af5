#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::path::PathBuf;

use clap::Args;
use tfo_core::cli::{FlagValues, Integer};

use crate::{
    config::{
        file::{InterfaceName, SourceAddress},
        server_address::ServerAddress,
    },
    network::NetworkFlags,
};

/// Number of hops to probe.
type MaxHops = Integer<1, 60>;

const AFTER_HELP: &str = "\
A SYN with a small TTL ends at a hop, which answers by ICMP and quotes the SYN as it arrived there.
Regular SYNs take turns with SYNs that have the fast open option, a cookie or data. A fault that only
the latter meet is placed between two hops. Needs neither root nor a capability.

Data in a SYN ends in front of the first hop that answers TCP. It reaches the target only if that is
the mirror of tfo-server, or with --to-target. A mirror introduces itself to a client that connects
and sends nothing. It reports what arrived: this covers the link behind the last hop, and the way back.

In the table, `ok` is a SYN that arrived as it was sent, `(ok)` one that arrived but was quoted too
shortly to compare, `silent` one without an answer where regular SYNs got one, and `*` a hop that
never answers.

Routers limit their ICMP errors, often to one per second. The pace slows down if a hop stops
answering. Ctrl-C ends the run and prints the results so far.

Exit status: 0 nothing on the path breaks fast open, 1 something does, or fast open does not work
from end to end, 2 wrong usage or bad configuration, 3 neither the target nor any hop answers.

Examples:
  tfo-client path example.org:443          find the hop that changes or drops SYNs
  tfo-client path 192.0.2.2:443 --to-target    let the first bytes of the probe reach the server
  tfo-client path --lab --hops 6 --hop 3:drop-syn-data
  tfo-client path HOST --all --report path.md";

#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP, next_display_order = 10)]
pub(crate) struct PathFlags {
    /// Host to connect to, as for --server
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: Option<ServerAddress>,

    /// Local address to connect from [default: that of the route]
    #[arg(long, value_name = "ADDR", conflicts_with = "lab")]
    source: Option<SourceAddress>,

    /// Network interface to connect by [default: that of the route]
    #[arg(long, value_name = "NAME", conflicts_with = "lab")]
    interface: Option<InterfaceName>,

    /// Send each kind of SYN to each hop, even where fast open works
    #[arg(long)]
    pub(super) all: bool,

    /// Let data reach a target that is no mirror: the first bytes of the probe
    #[arg(long)]
    pub(super) to_target: bool,

    /// Last hop to probe, 1 to 60 [default: 30]
    #[arg(long, value_name = "N")]
    max_hops: Option<MaxHops>,

    /// Write a report for the operators of the network, as Markdown
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Probe a path in the lab: two hosts on this machine, and a path that the flags below describe
    #[arg(long)]
    pub(super) lab: bool,

    #[command(flatten)]
    pub(super) network: NetworkFlags,
}

impl PathFlags {
    /// Returns the settings that these flags set.
    pub(crate) fn values(&self) -> FlagValues {
        FlagValues::default()
            .with("HOST", "server.address", self.host.as_ref())
            .with("--source", "probe.source", self.source)
            .with("--interface", "probe.interface", self.interface.as_ref())
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
