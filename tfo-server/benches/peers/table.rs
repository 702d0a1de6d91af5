//! The output: tables, ratios within the rounds, and targets.

use std::fmt::{self, Write as _};

use crate::peers::{HAPROXY, LIMIT, NGINX, TFO_SERVER, TFO_SERVER_COUNTERS};
use crate::speed::{Measured, Turn};

/// The median, minimum and maximum of some values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns `None` without values.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: *sorted.get(sorted.len() / 2)?, min, max })
    }

    /// Divides the values of two servers round by round.
    pub(crate) fn of_ratios(a: &[Turn], b: &[Turn], figure: fn(&Turn) -> f64) -> Option<Self> {
        Self::of(a.iter().zip(b).map(|(a, b)| figure(a) / figure(b)))
    }

    /// As [`of_ratios`](Self::of_ratios), for numbers.
    pub(crate) fn of_pairs(a: &[f64], b: &[f64]) -> Option<Self> {
        Self::of(a.iter().zip(b).map(|(a, b)| a / b))
    }
}

impl fmt::Display for Spread {
    /// Formats a ratio: `1.18 (1.07–1.28)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.min, self.max)
    }
}

fn rate(turn: &Turn) -> f64 {
    turn.load.rate
}

fn cpu(turn: &Turn) -> f64 {
    turn.cpu
}

/// Returns a Markdown table for the README. Ratios are relative to the first server.
pub(crate) fn speed(measured: &[Measured]) -> String {
    let Some(base) = measured.first() else { return "nothing was measured\n".to_owned() };
    let mut text = format!(
        "| server | rate, 1/s | rate against {0} | CPU, µs | CPU against {0} | syscalls | segments | p50, µs | p99, µs |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        base.name
    );
    let middle = |turns: &[Turn], figure: fn(&Turn) -> f64| {
        Spread::of(turns.iter().map(figure)).map_or(f64::NAN, |spread| spread.median)
    };
    for server in measured {
        let turns = &server.turns;
        let ratio = |figure| {
            Spread::of_ratios(turns, &base.turns, figure)
                .map_or(String::new(), |spread| spread.to_string())
        };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {:.1} | {} | {} | {:.1} | {:.0} | {:.0} |",
            server.name,
            middle(turns, rate),
            ratio(rate),
            middle(turns, cpu),
            ratio(cpu),
            server.syscalls.map_or("?".to_owned(), |calls| format!("{calls:.1}")),
            middle(turns, |turn| turn.segments),
            middle(turns, |turn| turn.load.p50),
            middle(turns, |turn| turn.load.p99),
        );
    }
    for server in measured {
        let acked = server.turns.iter().map(|turn| turn.load.acked).fold(1.0, f64::min);
        let wrong: f64 = server.turns.iter().map(|turn| turn.load.wrong).sum();
        if acked < 0.999_999 || wrong > 0.0 {
            let _ = writeln!(
                text,
                "NOT CLEAN: {}: data in the SYN acknowledged in {:.2} % at the worst; {wrong} connections failed or \
                 got too little",
                server.name,
                acked * 100.0
            );
        }
    }
    text
}

/// Returns the results of the measured servers compared with their targets.
pub(crate) fn targets(measured: &[Measured], forward: bool) -> String {
    let mut text = String::new();
    let mut check = |figure: fn(&Turn) -> f64,
                     what: &str,
                     subject: &str,
                     competitors: &[&str],
                     bound: f64,
                     at_least: bool| {
        let find = |name: &str| measured.iter().find(|server| server.name == name);
        let Some(server) = find(subject) else { return };
        // The strongest of the competitors.
        let ratios = competitors.iter().filter_map(|name| Some((name, find(name)?)));
        let ratios = ratios.filter_map(|(name, other)| {
            Some((name, Spread::of_ratios(&server.turns, &other.turns, figure)?))
        });
        let Some((name, spread)) =
            ratios.reduce(|a, b| if (a.1.median < b.1.median) == at_least { a } else { b })
        else {
            return;
        };
        let reached = if at_least { spread.median >= bound } else { spread.median <= bound };
        let _ = writeln!(
            text,
            "{}: {what} of {subject} against {name}: {}, to be at {} {bound}",
            if reached { "reached" } else { "MISSED " },
            spread,
            if at_least { "least" } else { "most" },
        );
    };
    let both = [NGINX, HAPROXY];
    if forward {
        check(cpu, "CPU", TFO_SERVER, &both, 0.78, false);
        check(rate, "rate", TFO_SERVER, &both, 1.25, true);
    } else {
        check(cpu, "CPU", TFO_SERVER, &[LIMIT], 1.05, false);
        check(rate, "rate", TFO_SERVER, &both, 1.2, true);
        check(cpu, "CPU", TFO_SERVER_COUNTERS, &[TFO_SERVER], 0.96, true);
    }
    text
}
