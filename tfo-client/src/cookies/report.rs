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
    /// Destinations that the kernel remembers, without a cookie and without a lost SYN.
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

/// The list: entries with a cookie, or with lost SYNs.
pub(super) fn list(format: Format, entries: &[Entry]) -> String {
    let (worth, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.cookie.is_some() || entry.syn_drops > 0);
    match format {
        Format::Json => output::json(&Listed {
            schema: 1,
            cookies: worth.iter().map(|entry| line(entry)).collect(),
            others: others.len(),
        }),
        Format::Text if worth.is_empty() => format!(
            "No cookies are cached here{}: the first connection to a server asks for one.\n\
             To get one: tfo-client -s HOST -n 2\n",
            match others.len() {
                0 => String::new(),
                1 => " (1 destination is remembered without one)".to_owned(),
                count => format!(" ({count} destinations are remembered without one)"),
            }
        ),
        Format::Text => table(&worth),
    }
}

/// All that is remembered of one destination.
pub(super) fn destination(format: Format, address: IpAddr, entries: &[Entry]) -> String {
    match format {
        Format::Json => {
            output::json(&Shown { schema: 1, address, cookies: entries.iter().map(line).collect() })
        }
        Format::Text if entries.is_empty() => {
            format!("Nothing is remembered of {address}: the next connection asks for a cookie.\n")
        }
        Format::Text => entries.iter().map(block).collect::<Vec<_>>().join("\n"),
    }
}

/// What was forgotten.
pub(super) fn forgotten(format: Format, entries: &[Entry]) -> String {
    match format {
        Format::Json => {
            output::json(&Forgotten { schema: 1, forgotten: entries.iter().map(line).collect() })
        }
        Format::Text if entries.is_empty() => "Nothing was remembered.\n".to_owned(),
        Format::Text => entries.iter().fold(String::new(), |text, entry| {
            let what =
                if entry.cookie.is_some() { "the cookie" } else { "what was known, no cookie," };
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
/// The columns that hold numbers, which stand at the right.
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
                drops(entry),
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
        put("MSS", format!("{mss} B, as it came with the cookie: it bounds the SYN's data"));
    }
    match drops(entry) {
        none if none.is_empty() => put("SYN drops", "none".to_owned()),
        note => put("SYN drops", format!("{}: {note}", entry.syn_drops)),
    }
    if let Some(rtt) = entry.rtt {
        put("RTT", prose::time(Some(rtt)));
    }
    block
}

/// What lost SYNs mean.
fn drops(entry: &Entry) -> String {
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

/// An age in the largest unit that leaves two digits or one.
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
    fn ages_are_told_in_units_that_people_use() {
        for (seconds, told) in [
            (0, "0 ms"),
            (7, "7 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age_of(Duration::from_secs(seconds)), told, "{seconds} s");
        }
        assert_eq!(age_of(Duration::from_millis(320)), "320 ms");
    }
}
