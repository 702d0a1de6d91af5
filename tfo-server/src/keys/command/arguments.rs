#![allow(clippy::doc_markdown, reason = "the comments are the help that users read")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use tfo_core::choice;

#[derive(Debug, Args)]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a file with a random key, readable by you alone; never replaces a file
    New(NewArguments),
    /// Fingerprints of the keys in a file, or of this host's
    Show(ShowArguments),
    /// Turn a key file into the sysctl's text or raw bytes, and back. Prints the keys
    Convert(ConvertArguments),
    /// Do two files hold the same keys? Exit status 0 the same, 1 different
    Compare(CompareArguments),
}

#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// The file to make
    pub(crate) file: PathBuf,

    /// Make a fleet's secret, for keys.mode = "derived", instead of a key
    #[arg(long)]
    pub(crate) secret: bool,
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("source").required(true).args(["file", "sysctl", "listener"]))]
pub(crate) struct ShowArguments {
    /// A key file
    pub(crate) file: Option<PathBuf>,

    /// The keys of this network namespace, net.ipv4.tcp_fastopen_key; needs root
    #[arg(long)]
    pub(crate) sysctl: bool,

    /// The keys of whoever listens on this address and port of this host; needs CAP_SYS_PTRACE
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listener: Option<SocketAddr>,

    /// Show the keys themselves too: who knows them can forge cookies
    #[arg(long)]
    pub(crate) reveal: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArguments {
    /// What to make: hex (a key file), sysctl (net.ipv4.tcp_fastopen_key) or raw (16 or 32 bytes)
    #[arg(long, value_name = "FORM")]
    pub(crate) to: KeyForm,

    /// Keys in any of these forms [default: standard input]
    #[arg(value_name = "FROM")]
    pub(crate) input: Option<PathBuf>,

    /// A new file, readable by you alone [default: standard output]
    #[arg(value_name = "INTO")]
    pub(crate) into: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// A key file
    pub(crate) a: PathBuf,

    /// Another key file
    pub(crate) b: PathBuf,
}

choice! {
    /// How keys are written.
    pub(crate) enum KeyForm {
        /// 32 hex digits a line.
        Hex = "hex",
        /// The text of `net.ipv4.tcp_fastopen_key`.
        Sysctl = "sysctl",
        /// 16 bytes a key.
        Raw = "raw",
    }
}
