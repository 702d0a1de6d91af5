//! `tfo-client cookies`: what the kernel remembers of other hosts, and how to make it forget.

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
    /// List the cached cookies (also without a command)
    List,
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

/// Exit status: there is nothing to show.
const NOTHING: u8 = 1;

pub(crate) fn run(settings: &Settings, flags: &CookiesFlags) -> Result<ExitCode, Failure> {
    let format = settings.format;
    let mut entries = entries()?;
    let mut status = 0;
    let text = match flags.action {
        None | Some(CookiesAction::List) => report::list(format, &entries),
        Some(CookiesAction::Show { address }) => {
            keep(&mut entries, address);
            if entries.is_empty() {
                status = NOTHING;
            }
            report::destination(format, address, &entries)
        }
        Some(CookiesAction::Forget { address, .. }) => {
            match address {
                Some(address) => keep(&mut entries, address),
                None => entries.retain(|entry| entry.cookie.is_some()),
            }
            report::forgotten(format, &forget(entries)?)
        }
    };
    output::print(text)?;
    Ok(ExitCode::from(status))
}

/// Returns all entries, in the order of their addresses.
fn entries() -> Result<Vec<Entry>, Failure> {
    let listed = CookieCache::open().and_then(|mut cache| cache.list());
    let mut entries = listed.map_err(|source| Failure::Operation {
        what: "the cookie cache can't be read".to_owned(),
        source,
        advice: String::new(),
    })?;
    entries.sort_by_key(|entry| (entry.destination, entry.source));
    Ok(entries)
}

/// Keeps the entries of one destination.
fn keep(entries: &mut Vec<Entry>, destination: IpAddr) {
    entries.retain(|entry| entry.destination == destination.to_canonical());
}

/// Deletes these entries, and returns those that were there.
fn forget(entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
    let mut forgotten = Vec::new();
    for entry in entries {
        let deleted =
            CookieCache::open().and_then(|mut cache| cache.delete(entry.source, entry.destination));
        match deleted {
            Ok(true) => forgotten.push(entry),
            // Somebody else did it.
            Ok(false) => {}
            Err(e) => return Err(cannot_forget("cookies forget", entry.destination, e)),
        }
    }
    Ok(forgotten)
}

/// A flag or command, `what`, may not forget a cookie.
pub(crate) fn cannot_forget(what: &str, address: IpAddr, source: tfo_core::Error) -> Failure {
    let advice = match source.kind() {
        io::ErrorKind::PermissionDenied if Capability::NetAdmin.is_effective() => format!(
            "{what} needs CAP_NET_ADMIN of the real host, which root of a user namespace has not got: \
             run it there: sudo nsenter --net=/proc/PID/ns/net tfo-client {what}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{what} needs CAP_NET_ADMIN: run it with sudo, or grant it: sudo setcap cap_net_admin=+ep \
             \"$(command -v tfo-client)\""
        ),
        _ => format!("leave {what} out"),
    };
    Failure::Operation {
        what: format!("the cookie for {address} can't be forgotten"),
        source,
        advice,
    }
}
