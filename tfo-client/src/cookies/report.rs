//! The cookie cache, as a table for people and as JSON.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use tfo_core::cli::value::Format;
use tfo_core::host::cookie_cache::Entry;

use crate::{output, prose};

#[derive(Serialize)]
struct Listed {
    schema: u32,
    cookies: Vec<Line>,
    /// Number of cached destinations without a cookie and without lost SYNs.
    others: usize,
}

#[derive(Serialize)]
struct Shown {
    schema: u32,
    address: IpAddr,
    cookies: Vec<Line>,
}

#[derive(Serialize)]
struct Forgotten {
    schema: u32,
    forgotten: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    destination: IpAddr,
    source: Option<IpAddr>,
    cookie: Option<String>,
    age_ms: Option<u64>,
    mss_bytes: Option<u16>,
    syn_drops: u16,
    last_syn_drop_ms: Option<u64>,
    rtt_us: Option<u64>,
}

/// Lists the entries with a cookie or with lost SYNs.
pub(super) fn list(format: Format, entries: &[Entry]) -> String {
    let (relevant, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.cookie.is_some() || entry.syn_drops > 0);
    match format {
        Format::Json => output::json(&Listed {
            schema: 1,
            cookies: relevant.iter().map(|entry| line(entry)).collect(),
            others: others.len(),
        }),
        Format::Text if relevant.is_empty() => prose::wrap(&format!(
            "No cookies are cached here{}: the first connection to a server requests one. To get one: \
             `tfo-client -s HOST -n 2`.",
            match others.len() {
                0 => String::new(),
                1 => " (1 destination is cached without one)".to_owned(),
                count => format!(" ({count} destinations are cached without one)"),
            }
        )),
        Format::Text => table(&relevant),
    }
}

/// Shows the entries of one destination.
pub(super) fn destination(format: Format, address: IpAddr, entries: &[Entry]) -> String {
    match format {
        Format::Json => {
            output::json(&Shown { schema: 1, address, cookies: entries.iter().map(line).collect() })
        }
        Format::Text if entries.is_empty() => {
            format!("{address} is not in the cache: the next connection requests a cookie.\n")
        }
        Format::Text => entries.iter().map(block).collect::<Vec<_>>().join("\n"),
    }
}

/// Lists the entries that were deleted.
pub(super) fn forgotten(format: Format, entries: &[Entry]) -> String {
    match format {
        Format::Json => {
            output::json(&Forgotten { schema: 1, forgotten: entries.iter().map(line).collect() })
        }
        Format::Text if entries.is_empty() => "Nothing to forget.\n".to_owned(),
        Format::Text => entries.iter().fold(String::new(), |text, entry| {
            let what =
                if entry.cookie.is_some() { "the cookie" } else { "the entry without a cookie" };
            text + &format!("Forgotten: {what} for {}{}\n", entry.destination, from(entry))
        }),
    }
}

fn line(entry: &Entry) -> Line {
    let millis = |time: Option<Duration>| {
        time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    };
    Line {
        destination: entry.destination,
        source: entry.source,
        cookie: entry.cookie.as_ref().map(ToString::to_string),
        age_ms: millis(entry.age),
        mss_bytes: entry.mss,
        syn_drops: entry.syn_drops,
        last_syn_drop_ms: millis(entry.syn_drop_age),
        rtt_us: entry.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
    }
}

const HEADS: [&str; 7] = ["destination", "source", "cookie", "used", "MSS", "SYN drops", "note"];
/// The columns with numbers, which are right-aligned.
const NUMBERS: std::ops::Range<usize> = 3..6;

fn table(entries: &[&Entry]) -> String {
    let rows: Vec<[String; 7]> = entries
        .iter()
        .map(|entry| {
            [
                entry.destination.to_string(),
                or_dash(entry.source),
                or_dash(entry.cookie.as_ref()),
                entry.age.map_or_else(|| "-".to_owned(), |age| format!("{} ago", age_of(age))),
                or_dash(entry.mss),
                entry.syn_drops.to_string(),
                describe_drops(entry),
            ]
        })
        .collect();
    let noted = rows.iter().any(|row| !row[6].is_empty());
    let columns = if noted { 7 } else { 6 };
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let draw = |cells: &[String]| {
        let cells = cells.iter().take(columns).zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            if NUMBERS.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().fold(draw(&HEADS.map(str::to_owned)), |table, row| table + &draw(row))
}

/// One entry in full.
fn block(entry: &Entry) -> String {
    let mut block = format!("{}{}\n", entry.destination, from(entry));
    let mut put = |name: &str, value: String| block += &format!("  {name:<10} {value}\n");
    put("cookie", entry.cookie.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string));
    if let Some(age) = entry.age {
        put("used", format!("{} ago", age_of(age)));
    }
    if let Some(mss) = entry.mss {
        put("MSS", format!("{mss} B, received with the cookie: limits the SYN's data"));
    }
    match describe_drops(entry) {
        none if none.is_empty() => put("SYN drops", "none".to_owned()),
        note => put("SYN drops", format!("{}: {note}", entry.syn_drops)),
    }
    if let Some(rtt) = entry.rtt {
        put("RTT", prose::time(Some(rtt)));
    }
    block
}

/// Describes the SYNs that were lost.
fn describe_drops(entry: &Entry) -> String {
    let last = entry.syn_drop_age.map(|age| format!(", the last {} ago", age_of(age)));
    match entry.syn_drops {
        0 => String::new(),
        1 => {
            format!("a SYN with data was lost{}", last.unwrap_or_default().replace("the last ", ""))
        }
        _ => format!("SYNs with data were lost{}", last.unwrap_or_default()),
    }
}

fn from(entry: &Entry) -> String {
    entry.source.map(|source| format!(" from {source}")).unwrap_or_default()
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Formats an age in seconds, minutes, hours or days.
fn age_of(age: Duration) -> String {
    match age.as_secs() {
        0 => format!("{} ms", age.as_millis()),
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 2 * 3600 => format!("{} min", seconds / 60),
        seconds if seconds < 2 * 86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_rounded_to_seconds_minutes_hours_or_days() {
        for (seconds, text) in [
            (0, "0 ms"),
            (7, "7 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age_of(Duration::from_secs(seconds)), text, "{seconds} s");
        }
        assert_eq!(age_of(Duration::from_millis(320)), "320 ms");
    }
}
