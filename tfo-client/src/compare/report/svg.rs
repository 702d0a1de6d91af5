//! The distributions as an SVG picture: cumulative curves, and histograms as close-ups below them.

use super::axis::{self, Axis, Series, Tone, count, share_until};
use super::results::Results;
use super::words;
use crate::compare::analysis::Analysis;

const WIDTH: f64 = 960.0;
/// The left and right edge of the plot.
const LEFT: f64 = 72.0;
const RIGHT: f64 = WIDTH - 40.0;
/// The upper and lower edge of the curves.
const TOP: f64 = 112.0;
const BOTTOM: f64 = 392.0;
/// The height of a close-up's bars, and their base line.
const BARS: f64 = 84.0;
const PANEL: f64 = 590.0;
const HEIGHT: f64 = 630.0;
/// The space between two close-ups.
const GAP: f64 = 72.0;
const BINS: usize = 70;
const TICKS: u32 = 7;

/// The style. All names begin with `cmp-`, so that the picture can be embedded in a page.
pub(super) const STYLE: &str = "\
.cmp text { font: 15px system-ui, sans-serif; fill: #1f2328; }
.cmp .cmp-title { font-size: 24px; font-weight: 700; }
.cmp .cmp-sub { font-size: 16px; fill: #57606a; }
.cmp .cmp-dim { fill: #57606a; }
.cmp .cmp-name { font-weight: 700; }
.cmp-page { fill: #ffffff; }
.cmp-grid { stroke: #d8dee4; stroke-width: 1; }
.cmp-base { stroke: #8c959f; stroke-width: 1.5; }
.cmp-trip { stroke: #8c959f; stroke-width: 1.2; stroke-dasharray: 3 4; }
.cmp-curve { fill: none; stroke-width: 3; stroke-linejoin: round; }
.cmp-saved { fill: #2da44e; opacity: 0.13; }
.cmp-cost { fill: #cf222e; opacity: 0.1; }
.cmp-arrow { stroke: #1f2328; stroke-width: 2; }
.cmp-head { fill: #1f2328; }
.cmp .cmp-gain { font-size: 17px; font-weight: 700; stroke: #ffffff; stroke-width: 5px; \
stroke-linejoin: round; paint-order: stroke; }
.cmp-regular { stroke: #0969da; } .cmp-fill-regular { fill: #0969da; }
.cmp-fast { stroke: #1a7f37; } .cmp-fill-fast { fill: #1a7f37; }
.cmp-missed { stroke: #cf222e; } .cmp-fill-missed { fill: #cf222e; }
.cmp text.cmp-text-regular { fill: #0969da; }
.cmp text.cmp-text-fast { fill: #1a7f37; }
.cmp text.cmp-text-missed { fill: #cf222e; }
@media (prefers-color-scheme: dark) {
.cmp text { fill: #e6edf3; }
.cmp .cmp-sub, .cmp .cmp-dim { fill: #9198a1; }
.cmp-page { fill: #0d1117; }
.cmp-grid { stroke: #262c36; }
.cmp-base, .cmp-trip { stroke: #6e7681; }
.cmp-saved { fill: #3fb950; opacity: 0.17; }
.cmp-cost { fill: #f85149; opacity: 0.15; }
.cmp-arrow { stroke: #e6edf3; }
.cmp-head { fill: #e6edf3; }
.cmp .cmp-gain { stroke: #0d1117; }
.cmp-regular { stroke: #58a6ff; } .cmp-fill-regular { fill: #58a6ff; }
.cmp-fast { stroke: #3fb950; } .cmp-fill-fast { fill: #3fb950; }
.cmp-missed { stroke: #f85149; } .cmp-fill-missed { fill: #f85149; }
.cmp text.cmp-text-regular { fill: #58a6ff; }
.cmp text.cmp-text-fast { fill: #3fb950; }
.cmp text.cmp-text-missed { fill: #f85149; }
}
";

/// Draws the only target.
pub(super) fn picture(results: &Results) -> String {
    let Some(found) = results.comparisons().next() else {
        return "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n".to_owned();
    };
    let series = axis::series(&found.analysis);
    draw(&results.title(&found.target, found.address), &found.analysis, &series)
}

/// Draws a comparison as a standalone document, which can also be embedded in a page.
pub(super) fn draw(title: &str, analysis: &Analysis, series: &[Series<'_>]) -> String {
    let axis = Axis::new(series, analysis.round_trips(1.0).and(analysis.rtt), TICKS);
    let mut picture = Picture { svg: String::new(), axis };
    picture.begin(title, analysis);
    picture.grid();
    picture.between(series);
    for series in series {
        picture.curve(series);
    }
    picture.gain(analysis, series);
    picture.names(series);
    picture.scale();
    picture.panels(series);
    picture.svg + "</svg>\n"
}

struct Picture {
    svg: String,
    axis: Axis,
}

impl Picture {
    fn begin(&mut self, title: &str, analysis: &Analysis) {
        let what = words::metric_name(analysis.metric);
        let description = format!("{} {}", words::headline(analysis), words::reason(analysis));
        self.svg += &format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"cmp\" role=\"img\" \
             viewBox=\"0 0 {WIDTH:.0} {HEIGHT:.0}\" width=\"{WIDTH:.0}\" height=\"{HEIGHT:.0}\">\n\
             <title>{}</title>\n<desc>{}</desc>\n<style>\n{STYLE}</style>\n\
             <rect class=\"cmp-page\" width=\"{WIDTH:.0}\" height=\"{HEIGHT:.0}\" rx=\"8\"/>\n",
            escape(title),
            escape(&description)
        );
        self.text("cmp-title", "start", (24.0, 42.0), title);
        let main = analysis.main();
        let counts =
            main.map_or((0, 0), |main| (main.regular.sorted.len(), main.fast.sorted.len()));
        let sides = if analysis.both_regular { "more" } else { "with fast open" };
        self.text(
            "cmp-sub",
            "start",
            (24.0, 70.0),
            &format!("{what}: {} regular connections and {} {sides}", counts.0, counts.1),
        );
    }

    fn grid(&mut self) {
        for tick in self.axis.ticks.clone() {
            let x = self.x(tick);
            self.line("cmp-grid", (x, TOP), (x, BOTTOM));
        }
        for quarter in 0_u8..=4 {
            let share = f64::from(quarter) / 4.0;
            let class = if quarter == 0 { "cmp-base" } else { "cmp-grid" };
            self.line(class, (LEFT, y(share)), (RIGHT, y(share)));
            self.text("cmp-dim", "end", (LEFT - 10.0, y(share) + 5.0), &words::percent(share));
        }
        for (trip, number) in self.axis.round_trips.clone().into_iter().zip(1..) {
            let x = self.x(trip);
            self.line("cmp-trip", (x, TOP - 4.0), (x, BOTTOM));
            let unit = if number == 1 { "round trip" } else { "round trips" };
            self.text("cmp-dim", "middle", (x, TOP - 12.0), &format!("{number} {unit}"));
        }
    }

    /// Fills the area between the first two curves, which is the mean time saved.
    fn between(&mut self, series: &[Series<'_>]) {
        let [one, other, ..] = series else { return };
        let class = match other.tone {
            Tone::FastOpen => "cmp-saved",
            _ => "cmp-cost",
        };
        let mut there = self.steps(one);
        let back = self.steps(other);
        there.extend(back.into_iter().rev());
        let points: Vec<String> = there.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.svg += &format!("<polygon class=\"{class}\" points=\"{}\"/>\n", points.join(" "));
    }

    fn curve(&mut self, series: &Series<'_>) {
        let steps = self.steps(series);
        let points: Vec<String> = steps.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.svg += &format!(
            "<polyline class=\"cmp-curve cmp-{}\" points=\"{}\"/>\n",
            class(series.tone),
            points.join(" ")
        );
    }

    /// Returns the corners of a cumulative curve, at most two for each half pixel.
    fn steps(&self, series: &Series<'_>) -> Vec<(f64, f64)> {
        let values = series.times.values();
        let mut steps = vec![(LEFT, y(0.0))];
        let (mut before, mut last) = (0.0, f64::MIN);
        for value in values.iter().take_while(|value| **value <= self.axis.high) {
            let x = self.x(*value);
            if x - last >= 0.5 {
                let now = share_until(series.times, *value);
                steps.extend([(x, y(before)), (x, y(now))]);
                (before, last) = (now, x);
            }
        }
        let end = share_until(series.times, self.axis.high);
        if let Some((x, _)) = steps.last().copied() {
            steps.extend([(x, y(end)), (RIGHT, y(end))]);
        }
        steps
    }

    /// Draws an arrow between the medians, labelled with their difference.
    fn gain(&mut self, analysis: &Analysis, series: &[Series<'_>]) {
        let [one, other, ..] = series else { return };
        let Some((from, to)) = one.times.median().zip(other.times.median()) else { return };
        let (from, to) = (self.x(from), self.x(to));
        if (from - to).abs() < 30.0 || from.max(to) > RIGHT {
            return;
        }
        let y = y(0.5);
        let turn = if to < from { 1.0 } else { -1.0 };
        self.line("cmp-arrow", (from, y), (to + 8.0 * turn, y));
        self.svg += &format!(
            "<path class=\"cmp-head\" d=\"M{to:.1} {y:.1} l{:.1} -6 l0 12 Z\"/>\n",
            12.0 * turn
        );
        let gap = other.times.median().zip(one.times.median()).map_or(0.0, |(to, from)| from - to);
        let word = if gap >= 0.0 { "saved" } else { "lost" };
        let mut label = format!("{} {word}", words::time(gap.abs()));
        if let Some(trips) = analysis.round_trips(gap.abs()) {
            label += &format!(" = {trips:.2} RTT");
        }
        if count(label.chars().count()) * 9.5 < (from - to).abs() {
            self.text("cmp-gain", "middle", (f64::midpoint(from, to), y - 14.0), &label);
        } else {
            self.text("cmp-gain", "start", (from.max(to) + 14.0, y + 6.0), &label);
        }
    }

    /// Draws the legend, above the plot at the right.
    fn names(&mut self, series: &[Series<'_>]) {
        let mut x = RIGHT;
        for series in series.iter().rev() {
            let words = series.name;
            self.text(
                &format!("cmp-name cmp-text-{}", class(series.tone)),
                "end",
                (x, 70.0),
                words,
            );
            x -= count(words.chars().count()) * 8.6;
            self.line(
                &format!("cmp-curve cmp-{}", class(series.tone)),
                (x - 26.0, 65.0),
                (x - 6.0, 65.0),
            );
            x -= 50.0;
        }
    }

    /// Draws a close-up of each distribution, side by side. All cover the same span of time, each around its median.
    fn panels(&mut self, series: &[Series<'_>]) {
        let Some(span) = close_up(series, &self.axis) else { return };
        let mut series: Vec<&Series<'_>> = series.iter().collect();
        let median = |series: &Series<'_>| series.times.median().unwrap_or_default();
        series.sort_by(|one, other| median(one).total_cmp(&median(other)));
        let pitch = (RIGHT - LEFT + GAP) / count(series.len());
        for (series, n) in series.iter().zip(0..) {
            let left = LEFT + count(n) * pitch;
            self.panel(series, span, (left, left + pitch - GAP));
        }
    }

    fn panel(&mut self, series: &Series<'_>, span: f64, (left, right): (f64, f64)) {
        let Some(median) = series.times.median() else { return };
        let start = (median - span * 0.35).max(0.0);
        let x = |time: f64| left + (time - start) / span * (right - left);
        let (shares, before, beyond) = axis::bins(series.times, start, span, BINS);
        let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let width = (right - left) / count(BINS);
        let mut path = String::new();
        for (share, bin) in shares.iter().zip(0..) {
            if *share > 0.0 {
                let height = (share / most * BARS).max(1.5);
                let x = left + count(bin) * width;
                path += &format!("M{x:.1} {PANEL:.1}v-{height:.1}h{width:.2}v{height:.1}z");
            }
        }
        let tone = class(series.tone);
        self.svg += &format!("<path class=\"cmp-fill-{tone}\" d=\"{path}\"/>\n");
        self.line("cmp-base", (left, PANEL), (right, PANEL));
        for (share, height) in [(0.0, 0.0), (most, BARS)] {
            let y = PANEL - height + 5.0;
            self.text("cmp-dim", "end", (left - 8.0, y), &words::percent(share));
        }
        let name = format!("cmp-name cmp-text-{tone}");
        self.text(&name, "start", (left, PANEL - BARS - 40.0), series.name);
        let others = match (before, beyond) {
            (0, 0) => String::new(),
            (0, beyond) => format!(", {beyond} beyond"),
            (before, 0) => format!(", {before} before"),
            (before, beyond) => format!(", {before} before, {beyond} beyond"),
        };
        let words = format!("median {}{others}", words::time(median));
        self.text("cmp-dim", "start", (left, PANEL - BARS - 20.0), &words);
        self.line("cmp-trip", (x(median), PANEL - BARS - 8.0), (x(median), PANEL));
        let step = axis::round_step(span / 4.0);
        let first = (start / step).ceil();
        for tick in (0..).map(|n| (first + f64::from(n)) * step).take_while(|t| *t <= start + span)
        {
            self.line("cmp-base", (x(tick), PANEL), (x(tick), PANEL + 5.0));
            self.text(
                "cmp-dim",
                "middle",
                (x(tick), PANEL + 22.0),
                &format!("{} ms", axis::label(tick, step)),
            );
        }
    }

    fn scale(&mut self) {
        for tick in self.axis.ticks.clone() {
            let x = self.x(tick);
            let unit = if tick == 0.0 { "" } else { " ms" };
            let number = words::tick(tick);
            self.text("cmp-dim", "middle", (x, BOTTOM + 24.0), &format!("{number}{unit}"));
        }
    }

    fn x(&self, time: f64) -> f64 {
        LEFT + self.axis.place(time) * (RIGHT - LEFT)
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.svg += &format!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        );
    }

    fn text(&mut self, class: &str, anchor: &str, (x, y): (f64, f64), words: &str) {
        self.svg += &format!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
            escape(words)
        );
    }
}

/// Returns the span of time of a close-up, which covers most of the widest distribution.
fn close_up(series: &[Series<'_>], axis: &Axis) -> Option<f64> {
    let widths = series.iter().filter_map(|series| {
        let at = |probability| series.times.quantile(probability).map(|found| found.value);
        Some((at(0.9)? - at(0.1)?) * 2.4)
    });
    let widest = widths.reduce(f64::max)?;
    Some(widest.clamp(axis.high / 100.0, axis.high))
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Regular => "regular",
        Tone::FastOpen => "fast",
        Tone::Missed => "missed",
    }
}

/// Escapes a text for XML or HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
