//! What to send to those who run the network there: addresses, times, what arrived where, and how to repeat it.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use tfo_core::path::{PathMap, Sample, SynKind, hex_without_cookie};

use super::result::Exploration;
use super::{finding, text};
use crate::prose::time;

pub(super) fn report(found: &Exploration) -> String {
    let map = &found.map;
    let began = found.began.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut report = format!(
        "# TCP Fast Open from {} to {}\n\n\
         Measured at {} UTC, for {:.1} s, with `tfo-client path` {}.\n\n",
        map.local.ip(),
        map.target,
        utc(began),
        found.took.as_secs_f64(),
        env!("CARGO_PKG_VERSION"),
    );
    report += "## Finding\n\n";
    for paragraph in finding::paragraphs(found) {
        report += &format!("{paragraph}\n\n");
    }
    report += &format!("From end to end: {}\n\n", finding::end_to_end(found));
    for advice in finding::advice(found) {
        report += &format!("What to do: {advice}\n\n");
    }
    report += "## Hops\n\n";
    report += &table(map);
    report += "\n## What arrived\n\n\
               Routers quote the SYN that they answer by ICMP. Below is what they quoted, from the TCP header on, for the \
               hops on both sides of what was found; cookies are replaced by `xx`.\n\n```\n";
    report += &quotes(found);
    report += "```\n\n## To repeat it\n\n```sh\n";
    let data = if found.wish.to_target && found.wish.lab.is_none() { " --to-target" } else { "" };
    let command = found.command(&format!("--all{data}"));
    report += &format!("{}\n", command.trim_matches('`'));
    report += "```\n";
    report
}

fn table(map: &PathMap) -> String {
    let mut table = "| hop | address | time |".to_owned();
    for kind in SynKind::ALL {
        table += &format!(" {kind} |");
    }
    table += "\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    let last = map.distance().unwrap_or_else(|| map.hops().last().copied().unwrap_or(0));
    for hop in 1..=last {
        let found = text::addresses(map, hop);
        let addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
        let address = if addresses.is_empty() { "*".to_owned() } else { addresses.join(", ") };
        table += &format!("| {hop} | {address} | {} |", time(map.round_trip(hop)));
        for kind in SynKind::ALL {
            let cell = map.cell(hop, kind);
            let word = text::word(&cell, kind, found.is_empty());
            let count = if cell.tried > 0 && map.distance() != Some(hop) {
                format!(" ({} of {})", cell.passed, cell.tried)
            } else {
                String::new()
            };
            table += &format!(" {word}{count} |");
        }
        table += "\n";
    }
    table
}

/// The first quote of each kind at the hops around what was found.
fn quotes(found: &Exploration) -> String {
    let map = &found.map;
    let all = found.conclusion.faults.iter().chain(&found.conclusion.changes);
    let mut hops: BTreeSet<u8> =
        all.flat_map(|fault| [fault.after_hop, fault.before_hop]).collect();
    if hops.is_empty() {
        hops.extend(map.hops().last());
    }
    let mut text = String::new();
    for hop in hops {
        for kind in SynKind::ALL {
            let of = |sample: &&Sample| sample.shot.ttl == hop && sample.shot.kind == kind;
            let quoted = map.samples.iter().filter(of).find_map(Sample::icmp);
            let Some(icmp) = quoted.filter(|icmp| !icmp.quote.is_empty()) else { continue };
            let from = icmp.from.map_or_else(|| "?".to_owned(), |from| from.to_string());
            text += &format!("hop {hop} ({from}), {kind}:\n");
            for line in hex_without_cookie(&icmp.quote).as_bytes().chunks(3 * 24) {
                text += &format!("  {}\n", String::from_utf8_lossy(line).trim_end());
            }
        }
    }
    text
}

/// A time since 1970 as a date.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The calendar of 400 years, from a day in March on (Howard Hinnant's algorithm).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        year + era * 400 + next,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(utc(1_798_761_599), "2026-12-31 23:59:59");
    }
}
