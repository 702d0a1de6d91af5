//! Files for other programs: rows of CSV, and tables of Markdown.

use tfo_core::diagnosis::Cause;

use super::{CompareReport, TAILS, document::micros, text, words};
use crate::compare::analysis::Summary;
use crate::compare::run::Comparison;
use crate::compare::sample::{Metric, Sample, Side, millis};

/// The columns of a sample, in CSV and in Markdown.
const COLUMNS: [&str; 12] = [
    "target",
    "pair",
    "first",
    "side",
    "verdict",
    "cause",
    "counted",
    "handshake_us",
    "first_byte_us",
    "reply_us",
    "ended_us",
    "rtt_us",
];

/// A row for each connection (RFC 4180), times in microseconds.
pub(super) fn csv(report: &CompareReport) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for found in report.comparisons() {
        for sample in &found.samples {
            let fields = columns(found, sample);
            text += &fields.map(|field| quoted(&field)).join(",");
            text += "\r\n";
        }
    }
    text
}

/// A section for each target: the answer, the times, and each connection.
pub(super) fn markdown(report: &CompareReport) -> String {
    let mut text = String::new();
    for found in report.comparisons() {
        let analysis = &found.analysis;
        let title = report.title(&found.target, found.address);
        text += &format!("# {}\n\n{}.\n\n", cell(&title), cell(&report.plan()));
        text +=
            &format!("**{}** {}\n\n", words::headline(analysis), cell(&words::reason(analysis)));
        text += &times(found);
        text += "\nMilliseconds, with intervals of 95 %; `?`: so few samples give no bound.\n\n";
        for (name, value) in super::figures(analysis) {
            text += &format!("- {name}: {}\n", cell(&value));
        }
        text += "\n<details><summary>All connections</summary>\n\n";
        text += &row(&COLUMNS.map(str::to_owned));
        text += &row(&COLUMNS.map(|_| "---".to_owned()));
        for sample in &found.samples {
            text += &row(&columns(found, sample).map(|field| cell(&field)));
        }
        text += "\n</details>\n\n";
    }
    text
}

fn times(found: &Comparison) -> String {
    let analysis = &found.analysis;
    let side = |side| words::side(side, analysis.both_regular).to_owned();
    let mut text = row(&[
        String::new(),
        side(Side::Regular),
        side(Side::FastOpen),
        if analysis.both_regular { "difference" } else { "saved" }.to_owned(),
        "round trips".to_owned(),
    ]);
    text += "| --- | ---: | ---: | ---: | ---: |\n";
    for (name, distribution) in super::distributions(analysis) {
        let of = |of: fn(&Summary) -> Option<crate::compare::statistics::Quantile>| {
            [of(&distribution.regular), of(&distribution.fast)].map(words::quantile)
        };
        let [regular, fast] = of(|summary| summary.median);
        let trips = distribution.saved.and_then(|saved| analysis.round_trips(saved.value));
        text += &row(&[
            format!("{name}, median"),
            regular,
            fast,
            words::estimate(distribution.saved),
            trips.map_or_else(|| "-".to_owned(), |trips| format!("{trips:.2}")),
        ]);
        for (tail, quantile) in TAILS {
            let [regular, fast] = of(quantile);
            text += &row(&[format!("{name}, {tail}"), regular, fast, String::new(), String::new()]);
        }
    }
    text
}

fn row<const N: usize>(cells: &[String; N]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn columns(found: &Comparison, sample: &Sample) -> [String; COLUMNS.len()] {
    let time = |ms: Option<f64>| ms.map_or_else(String::new, |ms| micros(ms).to_string());
    let metric = |metric: Metric| time(sample.time(metric));
    [
        text::name(&found.target),
        sample.pair.to_string(),
        sample.first.to_string(),
        sample.side.as_str().to_owned(),
        sample.verdict.outcome.to_string(),
        sample.verdict.cause.map_or("", Cause::as_str).to_owned(),
        found.analysis.counts(sample).to_string(),
        metric(Metric::Handshake),
        metric(Metric::FirstByte),
        metric(Metric::Reply),
        time(Some(millis(sample.ended))),
        time(sample.rtt.map(millis)),
    ]
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Text that can't end a cell, or begin a tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
