//! The report for people: a table of hops and kinds, what was found, and what to do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anstyle::{AnsiColor, Style};
use tfo_core::path::{Cell, Change, FaultKind, PathMap, SynKind};

use super::finding;
use super::result::Exploration;
use crate::prose::{self, counted, host_with_address, time, wrap};

/// Columns of a kind of SYN.
const KIND: usize = 9;
/// Columns of an address; a longer one has a line of its own.
const ADDRESS: usize = 17;

pub(super) fn report(found: &Exploration, colour: bool) -> String {
    let map = &found.map;
    let sent = map.samples.len();
    // Without a SYN there is no port.
    let from = if sent == 0 { map.local.ip().to_string() } else { map.local.to_string() };
    let mut text = wrap(&format!(
        "{} from {from}: {} in {:.1} s",
        host_with_address(&found.host, found.address),
        counted(sent, "SYN", "SYNs"),
        found.took.as_secs_f64()
    ));
    text += &wrap(&format!("End to end: {}", finding::end_to_end(found)));
    let table = table(found, colour);
    if !table.is_empty() {
        text += "\n";
    }
    text += &table;
    for paragraph in finding::paragraphs(found) {
        text += "\n";
        text += &wrap(&paragraph);
    }
    for advice in finding::advice(found) {
        text += "\n";
        text += &wrap(&format!("Next: {advice}"));
    }
    text + &pages(found)
}

/// The commands that show the pages of the faults.
fn pages(found: &Exploration) -> String {
    let kinds: BTreeSet<FaultKind> =
        found.conclusion.faults.iter().map(|fault| fault.kind).collect();
    kinds.into_iter().map(|kind| prose::page(kind.as_str())).collect()
}

fn table(found: &Exploration, colour: bool) -> String {
    let map = &found.map;
    let mut kinds = vec![SynKind::Plain];
    let tried = |kind: &SynKind| map.samples.iter().any(|sample| sample.shot.kind == *kind);
    kinds.extend(SynKind::ALL.into_iter().filter(|kind| *kind != SynKind::Plain && tried(kind)));
    let last = map.distance().unwrap_or_else(|| map.hops().last().copied().unwrap_or(0));
    if last == 0 {
        return String::new();
    }
    let mut text = format!("{:>4}  {:<ADDRESS$} {:>8}  ", "hop", "address", "time");
    for kind in &kinds {
        text += &format!("{:<KIND$}", head(*kind));
    }
    text = text.trim_end().to_owned() + "\n";
    for hop in 1..=last {
        text += &row(map, hop, &kinds, colour);
    }
    text
}

const fn head(kind: SynKind) -> &'static str {
    match kind {
        SynKind::Plain => "regular",
        SynKind::Request => "request",
        SynKind::Cookie => "cookie",
        SynKind::CookieAndData => "+ data",
        _ => "data",
    }
}

fn row(map: &PathMap, hop: u8, kinds: &[SynKind], colour: bool) -> String {
    let is_target = map.distance() == Some(hop);
    let addresses = if is_target { vec![map.target.ip()] } else { map.addresses(hop) };
    let address = match addresses.as_slice() {
        [] => "*".to_owned(),
        [only] => only.to_string(),
        [first, ..] => format!("{first} …"),
    };
    let mut text = if address.len() > ADDRESS {
        format!("{hop:>4}  {address}\n{:>24} {:>8}  ", "", time(map.round_trip(hop)))
    } else {
        format!("{hop:>4}  {address:<ADDRESS$} {:>8}  ", time(map.round_trip(hop)))
    };
    for kind in kinds {
        let cell = map.cell(hop, *kind);
        let word = word(&cell, *kind, !is_target && addresses.is_empty());
        let style = if colour { style(&word) } else { Style::new() };
        text += &format!("{style}{word:<KIND$}{style:#}");
    }
    if !colour {
        text.truncate(text.trim_end().len());
    }
    text + "\n"
}

/// What became of a kind of SYN at a hop, in one word.
pub(super) fn word(cell: &Cell, kind: SynKind, silent: bool) -> String {
    if cell.tried == 0 {
        return String::new();
    }
    if cell.syn_ack {
        return "SYN-ACK".to_owned();
    }
    if cell.reset {
        return "reset".to_owned();
    }
    if cell.refused.is_some() {
        return "refused".to_owned();
    }
    if cell.passed == 0 {
        return if kind == SynKind::Plain || silent { "*" } else { "silent" }.to_owned();
    }
    let Some(change) = cell.changes.first() else {
        let half = cell.passed * 2 <= cell.tried && cell.tried >= 6;
        return match (half, cell.unseen) {
            (true, _) => format!("{}/{}", cell.passed, cell.tried),
            (_, true) => "(ok)".to_owned(),
            _ => "ok".to_owned(),
        };
    };
    match change {
        Change::OptionOverwritten => "NOPs".to_owned(),
        Change::OptionRemoved => "removed".to_owned(),
        Change::OptionRenumbered => "34→254".to_owned(),
        Change::CookieChanged => "cookie≠".to_owned(),
        Change::DataRemoved => "no data".to_owned(),
        Change::DataChanged => "data≠".to_owned(),
        Change::Mss(_, now) => format!("MSS {now}"),
        Change::OptionLost(option) => format!("-opt {option}"),
        Change::OptionAdded(option) => format!("+opt {option}"),
        Change::Address => "addr≠".to_owned(),
        _ => "changed".to_owned(),
    }
}

fn style(word: &str) -> Style {
    let colour = match word {
        "ok" | "SYN-ACK" => AnsiColor::Green,
        "" | "*" => return Style::new(),
        "NOPs" | "removed" | "cookie≠" | "no data" | "data≠" | "silent" | "reset" | "refused" => {
            AnsiColor::Red
        }
        _ => AnsiColor::Yellow,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// The addresses of a hop, for other reports.
pub(super) fn addresses(map: &PathMap, hop: u8) -> Vec<IpAddr> {
    if map.distance() == Some(hop) { vec![map.target.ip()] } else { map.addresses(hop) }
}
