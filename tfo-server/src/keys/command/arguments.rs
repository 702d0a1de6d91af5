#![allow(clippy::doc_markdown, reason = "the comments are the help that users read")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use tfo_core::{choice, cli::value::named};

const AFTER_HELP: &str = "\
Exit status: 0 success, 1 failed, or compared keys differ, 2 wrong usage, or an invalid key file.

Examples:
  tfo-server keys new /etc/tfo/keys        create a key file for keys.mode = \"file\"
  sudo tfo-server keys show --sysctl       show the fingerprints of this host's keys
  tfo-server keys compare A B              do two files have the same keys?";

const AFTER_HELP_OF_NEW: &str = "\
Exit status: 0 success, 1 the file exists, or can't be created, 2 wrong usage.

Examples:
  tfo-server keys new /etc/tfo/keys              for keys.mode = \"file\"
  tfo-server keys new --secret /etc/tfo/secret   for keys.mode = \"derived\"";

const AFTER_HELP_OF_SHOW: &str = "\
Exit status: 0 success, 1 the keys of the host or process can't be read, 2 wrong usage, or an invalid
key file.

Examples:
  tfo-server keys show /etc/tfo/keys
  sudo tfo-server keys show --sysctl
  sudo tfo-server keys show --listener 127.0.0.1:2222";

const AFTER_HELP_OF_CONVERT: &str = "\
Exit status: 0 success, 1 the keys can't be read, or the file can't be created, 2 wrong usage.

Examples:
  tfo-server keys convert --to sysctl /etc/tfo/keys
  sysctl -n net.ipv4.tcp_fastopen_key | tfo-server keys convert --to hex - keys";

const AFTER_HELP_OF_COMPARE: &str = "\
Exit status: 0 the keys are the same, 1 they differ, 2 wrong usage, or an invalid key file.

Examples:
  tfo-server keys compare /etc/tfo/keys /tmp/keys-of-the-other-server";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a file with a random key, readable only by you; never replaces a file
    #[command(after_help = AFTER_HELP_OF_NEW)]
    New(NewArguments),
    /// Show the fingerprints of the keys in a file, or of this host's keys
    #[command(after_help = AFTER_HELP_OF_SHOW)]
    Show(ShowArguments),
    /// Convert a key file to the sysctl's text or raw bytes, or back. Prints the keys
    #[command(after_help = AFTER_HELP_OF_CONVERT)]
    Convert(ConvertArguments),
    /// Compare the keys in two files
    #[command(after_help = AFTER_HELP_OF_COMPARE)]
    Compare(CompareArguments),
}

#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// File to create
    pub(crate) file: PathBuf,

    /// Create a fleet's secret, for keys.mode = "derived", instead of a key
    #[arg(long)]
    pub(crate) secret: bool,
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("source").required(true).args(["file", "sysctl", "listener"]))]
pub(crate) struct ShowArguments {
    /// Key file
    pub(crate) file: Option<PathBuf>,

    /// Show the keys of this network namespace, net.ipv4.tcp_fastopen_key; needs root
    #[arg(long)]
    pub(crate) sysctl: bool,

    /// Show the keys of the process that listens on this address; needs CAP_SYS_PTRACE
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listener: Option<SocketAddr>,

    /// Also show the keys themselves. Keep them secret: they allow forging cookies
    #[arg(long)]
    pub(crate) reveal: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArguments {
    /// Output form: hex (a key file), sysctl (net.ipv4.tcp_fastopen_key) or raw (16 or 32 bytes)
    #[arg(long, value_name = "FORM", value_parser = named::<KeyForm>)]
    pub(crate) to: KeyForm,

    /// Input file, in any of these forms [default: standard input]
    #[arg(value_name = "FROM")]
    pub(crate) input: Option<PathBuf>,

    /// File to create, readable only by you [default: standard output]
    #[arg(value_name = "INTO")]
    pub(crate) into: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// First key file
    pub(crate) a: PathBuf,

    /// Second key file
    pub(crate) b: PathBuf,
}

/// The forms of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyForm {
    /// 32 hex digits per line.
    Hex,
    /// The text of `net.ipv4.tcp_fastopen_key`.
    Sysctl,
    /// 16 bytes per key.
    Raw,
}

choice!(KeyForm);
