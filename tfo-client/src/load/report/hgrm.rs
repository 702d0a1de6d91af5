//! Percentiles in the text format of `HdrHistogram`, which its plotters read.

use std::fs::File;
use std::io::{self, Write};

use hdrhistogram::Histogram;

/// Steps for each halving of the distance to 100 %.
const STEPS: u32 = 5;

/// Times in nanoseconds, written in milliseconds.
pub(super) fn write(mut file: &File, times: &Histogram<u64>) -> io::Result<()> {
    file.write_all(text(times).as_bytes())
}

fn text(times: &Histogram<u64>) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a histogram has three digits")]
    let millis = |nanos: u64| nanos as f64 / 1e6;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in times.iter_quantiles(STEPS) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (millis(step.value_iterated_to()), step.quantile_iterated_to());
        text += &format!("{value:12.3} {quantile:14.12} {count:10}");
        if quantile < 1.0 {
            text += &format!(" {:14.2}", 1.0 / (1.0 - quantile));
        }
        text += "\n";
    }
    let (mean, deviation) = (times.mean() / 1e6, times.stdev() / 1e6);
    text += &format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n");
    let (max, total) = (millis(times.max()), times.len());
    text += &format!("#[Max     = {max:12.3}, Total count    = {total:12}]\n");
    let buckets = times.buckets();
    text + &format!("#[Buckets = {buckets:12}, SubBuckets     = {:12}]\n", 2048)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_grow_to_the_total_and_times_are_milliseconds() {
        let mut times = Histogram::new_with_bounds(1_000, 1 << 42, 3).unwrap();
        for millis in 1..=100 {
            times.record(millis * 1_000_000).unwrap();
        }
        let text = text(&times);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{text}");
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((median[0] - 50.0).abs() < 0.1 && (median[2] - 50.0).abs() < 0.1, "{text}");
        let last = rows.last().unwrap();
        assert!((last[0] - 100.0).abs() < 0.2 && (last[2] - 100.0).abs() < 0.1, "{text}");
        assert!(text.contains("Total count    =          100]"), "{text}");
    }
}
