#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::net::IpAddr;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, after_help = AFTER_HELP)]
pub(crate) struct CookiesFlags {
    #[command(subcommand)]
    pub(crate) action: Option<CookiesAction>,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum CookiesAction {
    /// All that is remembered of one destination; exit status 1: nothing
    Show {
        /// The destination: an IPv4 or IPv6 address
        address: IpAddr,
    },
    /// Forget what is remembered, so that the next connection asks for a cookie; needs CAP_NET_ADMIN
    Forget {
        /// The destination: an IPv4 or IPv6 address
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        address: Option<IpAddr>,

        /// All destinations with a cookie
        #[arg(long)]
        all: bool,
    },
}

const AFTER_HELP: &str = "\
Without a command it lists the cookies that this host's kernel has cached as a client, in this
network namespace: one for each pair of addresses, whatever the port. It keeps few of them, and
none over a reboot.";
