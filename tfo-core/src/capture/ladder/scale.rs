//! Times in the unit of a ladder, and the gaps between them.

use std::time::Duration;

use super::rung::{Item, Rung};

const MILLISECOND: Duration = Duration::from_millis(1);
/// In a ladder shorter than this, the packets of a flight differ by microseconds.
const FINE: Duration = Duration::from_millis(10);
/// Times from this length on are not shown in milliseconds.
const COARSE: Duration = Duration::from_secs(100);
const HOUR: Duration = Duration::from_secs(3600);
/// The shortest silence that the picture mentions.
const SILENCE: Duration = Duration::from_millis(250);
/// A silence must also be longer than this many times the flight.
const SILENT_FLIGHTS: u32 = 4;

/// The format of the times of one ladder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    fine: bool,
}

impl Clock {
    pub(super) fn of(rungs: &[Rung]) -> Self {
        let end = rungs.iter().filter_map(Rung::end).max().unwrap_or_default();
        Self { fine: end < FINE }
    }

    /// Returns the time in milliseconds, or with its own unit; at most 8 characters.
    pub(super) fn show(self, time: Duration) -> String {
        let milliseconds = time.as_secs_f64() * 1e3;
        if time < MILLISECOND * 100 && self.fine {
            format!("{milliseconds:.2}")
        } else if time < COARSE {
            format!("{milliseconds:.1}")
        } else if time < HOUR * 24 {
            format!("{} s", time.as_secs())
        } else {
            "> 1 day".to_owned()
        }
    }

    /// Returns the time with its unit.
    pub(super) fn show_unit(self, time: Duration) -> String {
        let unit = if time < COARSE { " ms" } else { "" };
        self.show(time) + unit
    }
}

/// Returns a duration in words, such as `985 ms` or `1.02 s`.
pub(super) fn words(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if time < COARSE {
        format!("{:.2} s", time.as_secs_f64())
    } else if time < HOUR * 24 {
        format!("{} s", time.as_secs())
    } else {
        "more than a day".to_owned()
    }
}

/// Returns how long nothing happened, if the silence is long enough to be marked.
pub(super) fn silence(
    before: Option<Duration>,
    next: Option<Duration>,
    flight: Option<Duration>,
) -> Option<Duration> {
    let silence = next?.checked_sub(before?)?;
    let usual = flight.unwrap_or_default().saturating_mul(SILENT_FLIGHTS);
    (silence >= SILENCE.max(usual)).then_some(silence)
}

/// Returns the text for packets that are left out, such as `132 packets, 191 kB of data`.
pub(super) fn elided(packets: usize, bytes: usize) -> String {
    match bytes {
        0 => format!("{packets} packets"),
        1..1000 => format!("{packets} packets, {bytes} B of data"),
        1000..1_000_000 => format!("{packets} packets, {} kB of data", bytes / 1000),
        _ => format!("{packets} packets, {} MB of data", bytes / 1_000_000),
    }
}

/// Returns, for each item, the last moment at which something was seen up to and including it.
pub(super) fn latest<'a>(items: &'a [Item<'a>]) -> impl Iterator<Item = Option<Duration>> + 'a {
    items.iter().scan(None, |latest, item| {
        if let Item::Rung(rung) = item {
            *latest = rung.end().max(*latest);
        }
        Some(*latest)
    })
}
