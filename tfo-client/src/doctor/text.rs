//! The text for people: sections of 80 columns.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use tfo_core::cli::output::escape_control;
use tfo_core::diagnosis::End;
use tfo_core::host::readiness::{Finding, HitRates, Level, Role};
use tfo_core::host::{Counters, Owners, cookie_cache};

use super::open_connection::OpenConnection;
use super::snapshot::{Snapshot, includes, rate};
use crate::prose::{width, wrap_to};

/// The maximum number of rows of a table. The JSON document has all of them.
const ROWS: usize = 10;
/// The maximum number of rows of a table on a screen that is refreshed.
const BRIEF_ROWS: usize = 4;
/// The maximum number of lines of a finding there. Without `--watch` it is shown with its fix.
const BRIEF_LINES: usize = 2;
/// Width of a finding's level, including the surrounding spaces.
const MARGIN: usize = 11;

pub(super) fn screen(snapshot: &Snapshot, half: Role, watch: bool, colour: bool) -> String {
    let found = snapshot.findings(half);
    let mut text = head(snapshot, half, &found, colour);
    let mut fixes = Vec::new();
    for (title, part) in
        [("Client", Role::Client), ("Server", Role::Server), ("Both halves", Role::Both)]
    {
        if includes(half, part) {
            text += &section(title, part, &found, &mut fixes, snapshot, colour);
        }
    }
    text += &kernel(snapshot);
    text += &counters(snapshot, watch, half);
    if includes(half, Role::Client) {
        text += &cookies(snapshot, ROWS);
    }
    if includes(half, Role::Server) {
        text += &listeners(snapshot, ROWS);
    }
    text + &connections(snapshot, half, ROWS)
}

/// Returns what changes while it is watched, the most important first, for a screen of 24 rows.
pub(super) fn brief(snapshot: &Snapshot, half: Role, colour: bool) -> String {
    let found = snapshot.findings(half);
    let mut text = head(snapshot, half, &found, colour);
    for finding in found.iter().filter(|finding| finding.level() != Level::Ok) {
        let style = style(finding.level(), colour);
        let what = escape_control(&finding.what());
        let wrapped = wrap_to(&what, width() - MARGIN - 2);
        let lines: Vec<&str> = wrapped.lines().take(BRIEF_LINES).collect();
        let cut = if wrapped.lines().count() > BRIEF_LINES { " …" } else { "" };
        text += &format!("  {style}{:<7}{style:#}  ", finding.level());
        text += &indent(&(lines.join("\n") + cut), MARGIN);
    }
    text += &counters(snapshot, false, half);
    text += &connections(snapshot, half, BRIEF_ROWS);
    if includes(half, Role::Server) {
        text += &listeners(snapshot, BRIEF_ROWS);
    }
    if includes(half, Role::Client) {
        text += &cookies(snapshot, BRIEF_ROWS);
    }
    text
}

fn head(snapshot: &Snapshot, half: Role, found: &[Finding], colour: bool) -> String {
    let mut text = format!("{}, ", snapshot.environment.place);
    text += &match snapshot.facts.tcp_fastopen {
        Some(bits) => format!("net.ipv4.tcp_fastopen {bits}"),
        None => "no net.ipv4.tcp_fastopen".to_owned(),
    };
    if snapshot.environment.read_only {
        text += ", /proc/sys is read-only";
    }
    text = wrap_to(&escape_control(&text), width());
    let judged = [("client", Role::Client), ("server", Role::Server)];
    let words = judged.into_iter().filter(|(_, part)| includes(half, *part)).map(|(name, part)| {
        let problems = found.iter().filter(|f| f.is_problem() && includes(part, f.role())).count();
        let (level, word) = match problems {
            0 => (Level::Ok, "ready".to_owned()),
            1 => (Level::Problem, "not ready, 1 problem".to_owned()),
            more => (Level::Problem, format!("not ready, {more} problems")),
        };
        let style = style(level, colour);
        format!("{name}: {style}{word}{style:#}")
    });
    text + &words.collect::<Vec<_>>().join("; ") + "\n"
}

/// `fixes`: those that were shown before, in this and other sections. One command may do for both halves.
fn section(
    title: &str,
    part: Role,
    found: &[Finding],
    fixes: &mut Vec<Vec<String>>,
    snapshot: &Snapshot,
    colour: bool,
) -> String {
    let mut text = String::new();
    for finding in found.iter().filter(|finding| finding.role() == part) {
        let level = finding.level();
        let style = style(level, colour);
        text += &format!("  {style}{level:<7}{style:#}  ");
        text += &indent(&wrap_to(&escape_control(&finding.what()), width() - MARGIN), MARGIN);
        let mut fix = finding.fix(&snapshot.environment);
        if fixes.contains(&fix) {
            fix = vec!["the same fix as above".to_owned()];
        } else if !fix.is_empty() {
            fixes.push(fix.clone());
        }
        for step in fix {
            text += &format!("    - {}", indent(&wrap_to(&escape_control(&step), width() - 6), 6));
        }
    }
    if text.is_empty() { text } else { format!("\n{title}\n{text}") }
}

/// Indents all lines but the first.
fn indent(lines: &str, columns: usize) -> String {
    lines.trim_end().replace('\n', &format!("\n{}", " ".repeat(columns))) + "\n"
}

fn kernel(snapshot: &Snapshot) -> String {
    let probed = snapshot.facts.features.iter();
    let mut words: Vec<String> =
        probed.map(|(feature, support)| format!("{} {support}", feature.name())).collect();
    words.push(if snapshot.child_seen() {
        "TFO_CHILD yes".to_owned()
    } else {
        "TFO_CHILD unknown (only a connection can show it)".to_owned()
    });
    let text = wrap_to(&(words.join(", ") + "."), width() - 2);
    format!("\nKernel, as probed\n  {}", indent(&text, 2))
}

fn counters(snapshot: &Snapshot, watch: bool, half: Role) -> String {
    let title = "\nCounters since this network namespace was created";
    let Some(counters) = snapshot.facts.counters else { return String::new() };
    if !watch && counters.total().is_zero() {
        return format!("{title}\n  all 0: no connection has used fast open here\n");
    }
    let rates = snapshot.change;
    let mut text = format!("{title}{}\n", if rates.is_some() { ", and per second" } else { "" });
    for (index, (name, count)) in counters.iter().enumerate() {
        if !includes(half, half_of(name)) || (count == 0 && !watch) {
            continue;
        }
        text += &format!(
            "  {:<15} {count:>9}",
            name.trim_start_matches("TCPFastOpen").trim_start_matches("TCP")
        );
        if let Some((change, time)) = rates {
            let change = change.iter().nth(index).map_or(0, |(_, count)| count);
            text += &format!(" {:>9.1}", rate(change, time));
        }
        text += &format!("  {}\n", Counters::meaning(name));
    }
    let HitRates { outgoing, incoming, .. } = HitRates::of(&counters.total());
    for (part, rate, what) in [
        (Role::Client, outgoing, "of this host's SYNs with data were accepted"),
        (Role::Server, incoming, "of the SYNs with a cookie were accepted"),
    ] {
        if let Some(rate) = rate
            && includes(half, part)
        {
            text += &format!("  {:<15} {:>7.1} %  {what}\n", "hit rate", rate * 100.0);
        }
    }
    text
}

/// Returns the half of fast open that a counter is about.
fn half_of(counter: &str) -> Role {
    match counter {
        "TCPFastOpenActive" | "TCPFastOpenActiveFail" | "TCPFastOpenBlackhole" => Role::Client,
        "TCPSynRetrans" => Role::Both,
        _ => Role::Server,
    }
}

fn cookies(snapshot: &Snapshot, most: usize) -> String {
    let Some(entries) = snapshot.facts.cookies.as_deref().filter(|entries| !entries.is_empty())
    else {
        return String::new();
    };
    let columns = ["to", "from", "cookie", "used", "drops"].map(ToOwned::to_owned);
    let rows = entries.iter().map(|entry: &cookie_cache::Entry| {
        [
            entry.destination.to_string(),
            entry.source.map_or_else(|| "-".to_owned(), |source| source.to_string()),
            entry.cookie.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            entry.age.map_or_else(|| "-".to_owned(), ago),
            entry.syn_drops.to_string(),
        ]
    });
    table("Cached cookies", columns, rows.collect(), most)
}

fn listeners(snapshot: &Snapshot, most: usize) -> String {
    let Some(listeners) = snapshot.facts.listeners.as_ref().filter(|found| !found.is_empty())
    else {
        return String::new();
    };
    // A server with several workers has a socket for each at the same address.
    let mut rows: Vec<([String; 4], usize)> = Vec::new();
    for listener in listeners {
        let queue = match listener.fast_open_queue {
            0 => "none".to_owned(),
            queue => queue.to_string(),
        };
        let process = processes(&snapshot.facts.owners, listener.inode, listener.uid);
        let row = [listener.address.to_string(), queue, String::new(), process];
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, sockets)) => *sockets += 1,
            None => rows.push((row, 1)),
        }
    }
    rows.sort_by_key(|([_, queue, ..], _)| queue == "none");
    let columns = ["address", "queue", "sockets", "process"].map(ToOwned::to_owned);
    let rows = rows.into_iter().map(|([address, queue, _, process], sockets)| {
        [address, queue, sockets.to_string(), process]
    });
    table("Listeners and their fast open queues", columns, rows.collect(), most)
}

/// Names the first process that holds a socket, and the number of others.
fn processes(owners: &Owners, inode: u64, uid: u32) -> String {
    match owners.of_inode(inode) {
        [] => format!("not visible (uid {uid})"),
        [one] => format!("{} ({})", escape_control(&one.name), one.pid),
        [first, more @ ..] => {
            format!("{} ({} and {} more)", escape_control(&first.name), first.pid, more.len())
        }
    }
}

fn connections(snapshot: &Snapshot, half: Role, most: usize) -> String {
    let of_half: Vec<&OpenConnection> = snapshot
        .open
        .iter()
        .filter(|open| match open.end {
            End::Server => includes(half, Role::Server),
            _ => includes(half, Role::Client),
        })
        .collect();
    let (shown, rest): (Vec<&OpenConnection>, Vec<&OpenConnection>) =
        of_half.into_iter().partition(|open| open.has_fast_open());
    if shown.is_empty() && rest.is_empty() {
        return String::new();
    }
    let mut text = "\nOpen connections\n".to_owned();
    let ends = |open: &OpenConnection| {
        let arrow = if open.end == End::Server { "<-" } else { "->" };
        format!("{} {arrow} {}", open.connection.local, open.connection.remote)
    };
    let column = shown.iter().take(most).map(|open| ends(open).len()).max().unwrap_or(0);
    for open in shown.iter().take(most) {
        let verdict = match (open.outcome, open.cause) {
            (Some(outcome), Some(cause)) => format!("{outcome}: {cause}"),
            (Some(outcome), None) => outcome.to_string(),
            (None, _) => open.description.to_owned(),
        };
        let ends = ends(open);
        text += &if 2 + column + 2 + verdict.len() <= width() {
            format!("  {ends:<column$}  {verdict}\n")
        } else {
            format!("  {ends}\n      {verdict}\n")
        };
    }
    if shown.len() > most {
        text += &format!("  and {} more with fast open: -o json lists all\n", shown.len() - most);
    }
    match (shown.len(), rest.len()) {
        (_, 0) => {}
        (0, count) => text += &format!("  {count}, none with signs of fast open\n"),
        (_, count) => text += &format!("  and {count} without signs of fast open\n"),
    }
    text
}

/// Formats a table whose columns are as wide as their widest cell.
fn table<const N: usize>(
    title: &str,
    head: [String; N],
    rows: Vec<[String; N]>,
    most: usize,
) -> String {
    let hidden = rows.len().saturating_sub(most);
    let shown: Vec<[String; N]> = [head].into_iter().chain(rows.into_iter().take(most)).collect();
    let mut text = format!("\n{title}\n");
    for row in &shown {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let cells = shown.iter().filter_map(|row| row.get(column));
            let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            line += &format!("  {cell:<width$}");
        }
        text += line.trim_end();
        text += "\n";
    }
    if hidden > 0 {
        text += &format!("  and {hidden} more: -o json lists all\n");
    }
    text
}

fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s ago"),
        seconds @ ..7200 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3600),
    }
}

fn style(level: Level, colour: bool) -> Style {
    if !colour {
        return Style::new();
    }
    let colour = match level {
        Level::Ok => AnsiColor::Green,
        Level::Problem => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    Style::new().bold().fg_color(Some(colour.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_fits_its_cells_and_counts_hidden_rows() {
        let cells = |row: [&str; 2]| row.map(ToOwned::to_owned);
        let rows = (0..12).map(|n| cells(["a long address", &n.to_string()])).collect();
        let text = table("Title", cells(["address", "n"]), rows, 10);
        assert!(text.starts_with("\nTitle\n  address         n\n  a long address  0\n"), "{text}");
        assert!(text.ends_with("  a long address  9\n  and 2 more: -o json lists all\n"), "{text}");
    }

    #[test]
    fn ago_rounds_to_seconds_minutes_or_hours() {
        for (seconds, text) in
            [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago")]
        {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
