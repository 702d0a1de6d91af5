//! The CSV file, for other programs.

use tfo_core::diagnosis::Cause;

use super::document::micros;
use super::results::{Results, target_name};
use crate::compare::comparison::Comparison;
use crate::compare::sample::{Metric, Sample, millis};

/// The columns of a sample.
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

/// Returns a header and a row for each connection (RFC 4180), with times in microseconds.
pub(super) fn rows(results: &Results) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for found in results.comparisons() {
        for sample in &found.samples {
            let fields = columns(found, sample);
            text += &fields.map(|field| quoted(&field)).join(",");
            text += "\r\n";
        }
    }
    text
}

fn columns(found: &Comparison, sample: &Sample) -> [String; COLUMNS.len()] {
    let time = |ms: Option<f64>| ms.map_or_else(String::new, |ms| micros(ms).to_string());
    let metric = |metric: Metric| time(sample.time(metric));
    [
        target_name(&found.target),
        sample.pair.to_string(),
        sample.first.to_string(),
        sample.side.as_str().to_owned(),
        sample.verdict.outcome.to_string(),
        sample.verdict.cause.map_or("", Cause::as_str).to_owned(),
        found.analysis.is_counted(sample).to_string(),
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
