//! The options of every command.

#![allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "the comments are the help that users read"
)]

use std::path::PathBuf;

use clap::{ArgAction, Parser};
use tfo_core::cli::{
    FlagValues, Port,
    value::{Format, named},
};

use super::values::{ListenAddress, ServiceKind};

#[derive(Debug, Parser)]
pub(crate) struct Flags {
    /// IP address to listen on, such as 0.0.0.0 or :: [default: 127.0.0.1]
    #[arg(short, long, global = true, value_name = "ADDR")]
    pub(crate) address: Option<ListenAddress>,

    /// Port to listen on, 1 to 65535 [default: 2222]
    #[arg(short, long, global = true, value_name = "PORT")]
    pub(crate) port: Option<Port>,

    /// What to do with a connection: mirror, echo, discard, respond or forward [default: mirror]
    #[arg(long, global = true, value_name = "SERVICE", value_parser = named::<ServiceKind>)]
    pub(crate) service: Option<ServiceKind>,

    /// Configuration file [default: config/server.toml, else /etc/tfo/server.toml]
    #[arg(short, long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Draw the packets of each connection when it has ended (text output); needs CAP_NET_RAW
    #[arg(long)]
    pub(crate) trace: bool,

    /// Draw with ASCII characters only
    #[arg(long, requires = "trace")]
    pub(crate) ascii: bool,

    /// Write the packets for Wireshark (pcapng); needs CAP_NET_RAW
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,

    /// Print the effective configuration as TOML and exit
    #[arg(long, global = true)]
    pub(crate) print_config: bool,

    /// Data on standard output: text or json (one object a line) [default: text]
    #[arg(short, long, global = true, value_name = "FORMAT", value_parser = named::<Format>)]
    pub(crate) output: Option<Format>,

    /// Log more: -v debug, -vv trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log less: -q warnings, -qq errors
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) quiet: u8,
}

impl Flags {
    /// Returns the values that the flags set.
    pub(super) fn values(&self) -> FlagValues {
        FlagValues::default()
            .with("--address", "listen.address", self.address)
            .with("--port", "listen.port", self.port)
            .with("--service", "listen.service", self.service)
            .with("--output", "output.format", self.output)
    }
}
