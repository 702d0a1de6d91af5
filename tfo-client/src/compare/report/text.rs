//! The text for people, in a terminal.

use anstyle::{AnsiColor, Style};

use super::axis::{self, Axis};
use super::plot::{self, Look};
use super::results::target_name;
use super::words;
use crate::compare::analysis::{Analysis, Answer, Distribution, Summary};
use crate::compare::comparison::{Comparison, FailedTarget};
use crate::compare::sample::Side;
use crate::compare::statistics::Quantile;
use crate::prose::{width, wrap, wrap_to};

/// Width of a row's name, and of a value with its interval.
const NAME: usize = 14;
const VALUE: usize = 21;
/// Number of ticks below a plot.
const TICKS: u32 = 6;

/// Returns the answer, the tables and a plot; with details a second plot, and what the table shows in another form.
pub(super) fn comparison(comparison: &Comparison, look: Look, details: bool) -> String {
    let analysis = &comparison.analysis;
    let style = style(&analysis.answer, look.colour);
    let mut text = format!("{style}{}{style:#}\n", words::headline(analysis));
    text += &wrap(&words::reason(analysis));
    text += &format!("\n{}", table(analysis));
    text += &format!("\n{}", rates(analysis, details));
    let series = axis::series(analysis);
    if !series.is_empty() {
        let axis = Axis::new(&series, analysis.round_trips(1.0).and(analysis.rtt), TICKS);
        let what = words::metric_name(analysis.metric);
        text += &format!("\n{what}: distribution of the times, each to its highest bar\n");
        text += &plot::histogram(&series, &axis, look);
        if details {
            text += &format!("\n{what}: share of the connections that had it by then\n");
            text += &plot::curves(&series, &axis, look);
        }
    }
    text
}

fn table(analysis: &Analysis) -> String {
    let side = |side| words::side(side, analysis.both_regular);
    let last = if analysis.both_regular { "difference" } else { "saved" };
    let mut text = format!(
        "{:<NAME$} {:>VALUE$} {:>VALUE$} {:>VALUE$}\n",
        "ms [95 %]",
        side(Side::Regular),
        side(Side::FastOpen),
        last
    );
    let mut unbounded = false;
    for (name, distribution) in words::distributions(analysis) {
        text += &format!("{name}\n");
        text += &rows(analysis, distribution);
        unbounded |= [&distribution.regular, &distribution.fast].into_iter().any(is_unbounded);
    }
    if unbounded {
        text += "  ?: too few samples for a bound; p99 needs 368, p90 36.\n";
    }
    text
}

fn rows(analysis: &Analysis, distribution: &Distribution) -> String {
    let Distribution { fast, regular, saved, .. } = distribution;
    let row = |name: &str, [one, two, three]: [String; 3]| {
        let line =
            format!("  {name:<w$} {one:>VALUE$} {two:>VALUE$} {three:>VALUE$}", w = NAME - 2);
        format!("{}\n", line.trim_end())
    };
    let both = |of: fn(&Summary) -> Option<Quantile>| {
        [words::quantile(of(regular)), words::quantile(of(fast))]
    };
    let [one, two] = both(|summary| summary.median);
    let mut text = row("median", [one, two, words::estimate(*saved)]);
    for (name, of) in words::TAILS {
        let [one, two] = both(of);
        text += &row(name, [one, two, String::new()]);
    }
    if analysis.round_trips(1.0).is_some() {
        let trips = |time: Option<f64>| {
            time.and_then(|time| analysis.round_trips(time))
                .map_or_else(|| "-".to_owned(), |trips| format!("{trips:.2}"))
        };
        let of = |summary: &Summary| trips(summary.median.map(|found| found.value));
        let saved = trips(saved.map(|saved| saved.value));
        text += &row("in RTT", [of(regular), of(fast), saved]);
    }
    text
}

fn is_unbounded(summary: &Summary) -> bool {
    [summary.median, summary.p90, summary.p99]
        .into_iter()
        .flatten()
        .any(|quantile| quantile.low.is_none() || quantile.high.is_none())
}

fn rates(analysis: &Analysis, details: bool) -> String {
    let mut text = String::new();
    // Without misses the expectation is what the table calls saved.
    let expectation = details || !analysis.misses.is_empty() || analysis.ordinary_loss >= 0.01;
    for (name, value) in words::figures(analysis) {
        if name == words::EXPECTATION && !expectation {
            continue;
        }
        let value = wrap_hanging(&value);
        text += &format!("{name:<NAME$}{value}\n");
    }
    text
}

/// Wraps a text with a hanging indent.
fn wrap_hanging(text: &str) -> String {
    let wrapped = wrap_to(text, width() - NAME);
    wrapped.trim_end().replace('\n', &format!("\n{}", " ".repeat(NAME)))
}

/// Returns the head of the table of several targets.
pub(super) fn head() -> String {
    format!(
        "{:<30} {:>9} {:>9} {:>9} {:>16} {:>5}  {}\n",
        "target", "RTT", "regular", "fast open", "saved [95 %]", "hits", "answer"
    )
}

/// Returns the row of one of several targets.
pub(super) fn row(comparison: &Comparison, colour: bool) -> String {
    let analysis = &comparison.analysis;
    let median = |summary: Option<&Summary>| {
        let median = summary.and_then(|summary| summary.median);
        median.map_or_else(|| "-".to_owned(), |median| words::number(median.value))
    };
    let main = analysis.main();
    let style = style(&analysis.answer, colour);
    let saved = analysis.saved().map_or_else(
        || "-".to_owned(),
        |saved| {
            let reach = (saved.high - saved.value).max(saved.value - saved.low);
            format!("{:.2} ± {reach:.2}", saved.value).replace('-', "−")
        },
    );
    format!(
        "{:<30} {:>9} {:>9} {:>9} {saved:>16} {:>5}  {style}{}{style:#}\n",
        shortened(&target_name(&comparison.target)),
        analysis.rtt.map_or_else(|| "-".to_owned(), words::number),
        median(main.map(|main| &main.regular)),
        median(main.map(|main| &main.fast)),
        words::percent(analysis.hit_rate.value()),
        answer(&analysis.answer),
    )
}

/// Returns the row of a target that could not be measured.
pub(super) fn failed_target(failed: &FailedTarget) -> String {
    format!("{:<30} {}\n", shortened(&target_name(&failed.target)), failed.reason)
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Unknown(reason) => format!("? ({})", reason.as_str()),
        Answer::NoDifference => "no difference".to_owned(),
        known => known.as_str().to_owned(),
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= 30 {
        return name.to_owned();
    }
    name.chars().take(29).chain(['…']).collect()
}

fn style(answer: &Answer, colour: bool) -> Style {
    if !colour {
        return Style::new();
    }
    let colour = match answer {
        Answer::On => AnsiColor::Green,
        Answer::Off => AnsiColor::Red,
        Answer::NoDifference | Answer::Unknown(_) => AnsiColor::Yellow,
    };
    Style::new().bold().fg_color(Some(colour.into()))
}
