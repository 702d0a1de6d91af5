//! Lists, shows, forgets.

use std::net::IpAddr;
use std::process::ExitCode;

use tfo_core::Result;
use tfo_core::host::cookie_cache::{CookieCache, Entry};

use super::arguments::{CookiesAction, CookiesFlags};
use super::report;
use crate::config::Settings;

/// There is nothing to show.
const NOTHING: u8 = 1;

pub(crate) fn run(settings: &Settings, flags: &CookiesFlags) -> ExitCode {
    let format = settings.format;
    let entries = match entries() {
        Ok(entries) => entries,
        Err(e) => return report::no_cookie_cache(&e),
    };
    match flags.action {
        None => report::cookies(format, &entries),
        Some(CookiesAction::Show { address }) => {
            let of_it = of(entries, address);
            let status = if of_it.is_empty() { NOTHING } else { 0 };
            report::cookies_of(format, address, &of_it, status)
        }
        Some(CookiesAction::Forget { address: Some(address), .. }) => {
            forget(settings, of(entries, address))
        }
        Some(CookiesAction::Forget { address: None, .. }) => {
            forget(settings, entries.into_iter().filter(|entry| entry.cookie.is_some()).collect())
        }
    }
}

/// All entries, in the order of their addresses.
fn entries() -> Result<Vec<Entry>> {
    let mut entries = CookieCache::open()?.list()?;
    entries.sort_by_key(|entry| (entry.destination, entry.source));
    Ok(entries)
}

fn of(mut entries: Vec<Entry>, destination: IpAddr) -> Vec<Entry> {
    entries.retain(|entry| entry.destination == destination.to_canonical());
    entries
}

fn forget(settings: &Settings, entries: Vec<Entry>) -> ExitCode {
    let mut forgotten = Vec::new();
    for entry in entries {
        let deleted =
            CookieCache::open().and_then(|mut cache| cache.delete(entry.source, entry.destination));
        match deleted {
            Ok(true) => forgotten.push(entry),
            // Somebody else did it.
            Ok(false) => {}
            Err(e) => return report::cannot_forget_entry(entry.destination, &e),
        }
    }
    report::forgotten(settings.format, &forgotten)
}
