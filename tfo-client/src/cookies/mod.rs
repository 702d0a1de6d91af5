//! `tfo-client cookies`: lists, shows and deletes the entries of the kernel's cookie cache.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments of the flags are the help that users read"
)]

mod report;

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tfo_core::host::Capability;
use tfo_core::host::cookie_cache::{CookieCache, Entry};

use crate::config::Settings;
use crate::output::{self, Failure};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CookiesFlags {
    #[command(subcommand)]
    action: Option<CookiesAction>,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
enum CookiesAction {
    /// List the cached cookies (the default command)
    #[command(after_help = AFTER_HELP_OF_LIST)]
    List,
    /// Show the cache entries of one destination; exit with status 1 if there are none
    #[command(after_help = AFTER_HELP_OF_SHOW)]
    Show {
        /// IPv4 or IPv6 address of the destination
        address: IpAddr,
    },
    /// Delete cache entries, so that the next connection requests a cookie; needs CAP_NET_ADMIN
    #[command(after_help = AFTER_HELP_OF_FORGET)]
    Forget {
        /// IPv4 or IPv6 address of the destination
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        address: Option<IpAddr>,

        /// Forget all destinations with a cookie
        #[arg(long)]
        all: bool,
    },
}

const AFTER_HELP: &str = "\
Without a command, lists the cookies that the kernel has cached as a client in this network
namespace, one for each pair of addresses, whatever the port. The kernel caches only a few
cookies, and loses them on reboot.

Exit status: 0 success, 1 nothing to show, 2 wrong usage, or not allowed.

Examples:
  tfo-client cookies                       list the cached cookies
  tfo-client cookies show 192.0.2.2
  sudo tfo-client cookies forget --all     the next connections request new ones";

const AFTER_HELP_OF_LIST: &str = "\
Exit status: 0 success, 2 wrong usage, or the cache can't be read.

Examples:
  tfo-client cookies list
  tfo-client cookies list -o json";

const AFTER_HELP_OF_SHOW: &str = "\
Exit status: 0 success, 1 no entry, 2 wrong usage, or the cache can't be read.

Examples:
  tfo-client cookies show 192.0.2.2
  tfo-client cookies show 2001:db8::2 -o json";

const AFTER_HELP_OF_FORGET: &str = "\
Exit status: 0 success, 2 wrong usage, or not allowed.

Examples:
  sudo tfo-client cookies forget 192.0.2.2
  sudo tfo-client cookies forget --all";

/// Exit status if there is nothing to show.
const NOTHING: u8 = 1;

pub(crate) fn run(settings: &Settings, flags: &CookiesFlags) -> Result<ExitCode, Failure> {
    let format = settings.output.format;
    let mut entries = entries()?;
    let mut status = 0;
    let text = match flags.action {
        None | Some(CookiesAction::List) => report::list(format, &entries),
        Some(CookiesAction::Show { address }) => {
            retain_destination(&mut entries, address);
            if entries.is_empty() {
                status = NOTHING;
            }
            report::destination(format, address, &entries)
        }
        Some(CookiesAction::Forget { address, .. }) => {
            match address {
                Some(address) => retain_destination(&mut entries, address),
                None => entries.retain(|entry| entry.cookie.is_some()),
            }
            report::forgotten(format, &forget(entries)?)
        }
    };
    output::print(text)?;
    Ok(ExitCode::from(status))
}

/// Returns all entries, sorted by address.
fn entries() -> Result<Vec<Entry>, Failure> {
    let listed = CookieCache::open().and_then(|mut cache| cache.list());
    let mut entries = listed.map_err(|source| Failure::Operation {
        what: "can't read the cookie cache".to_owned(),
        source,
        advice: String::new(),
    })?;
    entries.sort_by_key(|entry| (entry.destination, entry.source));
    Ok(entries)
}

/// Removes the entries of all other destinations from the list.
fn retain_destination(entries: &mut Vec<Entry>, destination: IpAddr) {
    entries.retain(|entry| entry.destination == destination.to_canonical());
}

/// Deletes these entries from the cache, and returns those that still existed.
fn forget(entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
    let mut forgotten = Vec::new();
    for entry in entries {
        let deleted =
            CookieCache::open().and_then(|mut cache| cache.delete(entry.source, entry.destination));
        match deleted {
            Ok(true) => forgotten.push(entry),
            // Another process deleted the entry.
            Ok(false) => {}
            Err(e) => return Err(cannot_forget("cookies forget", entry.destination, e)),
        }
    }
    Ok(forgotten)
}

/// Returns the error if the flag or command `what` can't delete a cookie.
pub(crate) fn cannot_forget(what: &str, address: IpAddr, source: tfo_core::Error) -> Failure {
    let advice = match source.kind() {
        io::ErrorKind::PermissionDenied if Capability::NetAdmin.is_effective() => format!(
            "{what} needs CAP_NET_ADMIN of the real host, which root in a user namespace lacks: \
             run it on the host: sudo nsenter --net=/proc/PID/ns/net tfo-client {what}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{what} needs CAP_NET_ADMIN: run it with sudo, or grant it: sudo setcap cap_net_admin=+ep \
             \"$(command -v tfo-client)\""
        ),
        _ => format!("omit {what}"),
    };
    Failure::Operation { what: format!("can't forget the cookie for {address}"), source, advice }
}
