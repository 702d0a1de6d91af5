//! What `tfo-client compare` says: [`text`] with its [`plot`]s in a terminal, an [`svg`] picture, an
//! [`html`] page, a JSON [`document`], and the rows of [`csv`]. [`words`] has the sentences of all.

mod axis;
mod csv;
mod document;
mod html;
mod plot;
mod svg;
mod text;
mod words;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tfo_core::program::output::{Output, Reader, colour_allowed, printable};
use tfo_core::program::value::Format;

use crate::compare::analysis::{Analysis, Distribution, Summary};
use crate::compare::run::{CompareSettings, Comparison, Failure, Files};
use crate::compare::sample::{Metric, Sample, Side};
use crate::compare::statistics::{Quantile, Sorted};
use crate::config::{Settings, Target};
use crate::output;
use crate::prose::{self, wrap};

/// Time between two looks at how far it is.
const PROGRESS: Duration = Duration::from_millis(200);
/// The quantiles beside the median.
const TAILS: [(&str, Tail); 2] = [("p90", |summary| summary.p90), ("p99", |summary| summary.p99)];

/// A quantile of a sample.
type Tail = fn(&Summary) -> Option<Quantile>;
/// What a file holds.
type Make = fn(&CompareReport) -> String;

/// The report of a comparison, or of several.
pub(crate) struct CompareReport {
    settings: Settings,
    compare: CompareSettings,
    /// How many targets there are.
    targets: usize,
    colour: bool,
    progress: bool,
    shown: Instant,
    started: Instant,
    output: Output,
    lost: bool,
    results: Vec<Result<Comparison, Failure>>,
}

impl CompareReport {
    pub(crate) fn new(settings: &Settings, compare: &CompareSettings, targets: usize) -> Self {
        Self {
            settings: settings.clone(),
            compare: compare.clone(),
            targets,
            colour: colour_allowed(&io::stdout()),
            progress: colour_allowed(&io::stderr()),
            shown: Instant::now(),
            started: Instant::now(),
            output: Output::stdout(),
            lost: false,
            results: Vec::new(),
        }
    }

    /// A target is about to be measured.
    pub(crate) fn begin(&mut self, target: &Target, address: SocketAddr) {
        self.started = Instant::now();
        let name = text::name(target);
        if self.format() == Format::Text {
            let head = if self.targets > 1 {
                if self.results.is_empty() { text::head() } else { String::new() }
            } else {
                wrap(&format!("{}: {}.", self.title(target, address), self.plan())) + "\n"
            };
            self.print(&head);
        }
        if self.progress {
            let _ = write!(io::stderr(), "  {name}: the cookie…\r");
        }
    }

    /// Shows how far it is, now and then.
    pub(crate) fn progress(&mut self, samples: &[Sample], metrics: &[Metric], both_regular: bool) {
        let (pairs, most) = (samples.len() / 2, self.compare.pairs);
        if !self.progress || (self.shown.elapsed() < PROGRESS && pairs > 1) {
            return;
        }
        self.shown = Instant::now();
        let metric = metrics.first().copied().unwrap_or(Metric::FirstByte);
        let median = |side: Side| {
            let of_side = samples
                .iter()
                .filter(|sample| sample.side == side && sample.is_proper(both_regular));
            let median = Sorted::new(of_side.filter_map(|sample| sample.time(metric))).median();
            median.map_or_else(|| "none".to_owned(), words::time)
        };
        let elapsed = self.started.elapsed();
        let whole = elapsed.mul_f64(axis::count(most) / axis::count(pairs).max(1.0));
        let rest = match self.compare.until_ci {
            None => format!("{} s left", whole.saturating_sub(elapsed).as_secs() + 1),
            Some(_) => format!("{} s so far", elapsed.as_secs()),
        };
        let _ = write!(
            io::stderr(),
            "\x1b[2K  {pairs} of {most} pairs: regular {}, {} {}, {rest}\r",
            median(Side::Regular),
            words::side(Side::FastOpen, both_regular),
            median(Side::FastOpen),
        );
    }

    /// Takes the comparison of a target; `false` when nobody reads the report any more.
    pub(crate) fn comparison(&mut self, comparison: Comparison) -> bool {
        self.erase();
        let text = match (self.format(), self.targets) {
            (Format::Json, _) => String::new(),
            (Format::Text, 1) => {
                self.interruption(&comparison) + &text::comparison(&comparison, self.colour)
            }
            (Format::Text, _) => text::row(&comparison, self.colour),
        };
        self.results.push(Ok(comparison));
        self.print(&text)
    }

    /// Takes a target that could not be measured.
    pub(crate) fn failure(&mut self, failure: Failure) -> bool {
        self.erase();
        let failure =
            Failure { why: printable(&failure.why), advice: printable(&failure.advice), ..failure };
        let shown = if self.targets > 1 && self.format() == Format::Text {
            self.print(&text::failure(&failure))
        } else {
            let message = format!("{} {}", failure.why, failure.advice);
            output::error(&io::Error::other(message.trim_end().to_owned()));
            true
        };
        self.results.push(Err(failure));
        shown
    }

    /// Ends the report, and writes the files; says what the exit status is, if all else is well.
    pub(crate) fn finish(&mut self, status: u8) -> ExitCode {
        if self.format() == Format::Json {
            let document = self.document();
            self.print(&document);
        }
        let Files { svg, html, json, csv } = self.compare.files.clone();
        let files: [(Option<PathBuf>, Make); 4] =
            [(svg, Self::picture), (html, html::page), (json, Self::document), (csv, csv::rows)];
        for (file, make) in files {
            if let Some(file) = file
                && let Err(e) = fs::write(&file, make(self))
            {
                return output::cannot_write(&file, &e);
            }
        }
        // It has been said why the report is not whole.
        ExitCode::from(if self.lost { output::USAGE } else { status })
    }

    fn format(&self) -> Format {
        self.settings.format
    }

    fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.results.iter().filter_map(|result| result.as_ref().ok())
    }

    /// What is compared: "example.org:443 (192.0.2.1:443), GET / over TLS".
    fn title(&self, target: &Target, address: SocketAddr) -> String {
        let name = text::name(target);
        let place = match &self.compare.lab {
            Some(network) => {
                let mut path = format!("lab, RTT {}", prose::time(Some(network.rtt)));
                if !network.jitter.is_zero() {
                    path += &format!(", jitter {}", prose::time(Some(network.jitter)));
                }
                if network.loss > 0.0 {
                    path += &format!(", loss {}", words::percent(network.loss));
                }
                for middlebox in &network.boxes {
                    path += &format!(", {middlebox}");
                }
                path
            }
            None if name == address.to_string() => String::new(),
            None => address.to_string(),
        };
        if place.is_empty() { name } else { format!("{name} ({place})") }
    }

    /// What each connection does, and how many there are.
    fn plan(&self) -> String {
        let pairs = self.compare.pairs;
        let sides = if self.settings.mode == crate::config::file::Mode::Off {
            "regular connections"
        } else {
            "a regular connection and one with fast open"
        };
        let count = match self.compare.until_ci {
            None => format!("{pairs} pairs"),
            Some(width) => {
                format!("until ± {}, at most {pairs} pairs", words::percent(width))
            }
        };
        let message = if self.compare.job.sends_message() {
            format!("{} B of ", self.settings.payload.bytes())
        } else {
            String::new()
        };
        format!("{count} of {sides}; each: {message}{}", self.compare.job)
    }

    fn interruption(&self, comparison: &Comparison) -> String {
        if comparison.interrupted {
            format!(
                "Interrupted after {} of {} pairs.\n\n",
                comparison.samples.len() / 2,
                self.compare.pairs
            )
        } else {
            String::new()
        }
    }

    fn document(&self) -> String {
        document::document(self)
    }

    /// The picture of the only target.
    fn picture(&self) -> String {
        let Some(found) = self.comparisons().next() else {
            return "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n".to_owned();
        };
        let series = axis::series(&found.analysis);
        svg::draw(&self.title(&found.target, found.address), &found.analysis, &series)
    }

    fn erase(&self) {
        if self.progress {
            let _ = write!(io::stderr(), "\x1b[2K\r");
        }
    }

    fn print(&mut self, text: &str) -> bool {
        match self.output.print(text) {
            Ok(Reader::Listening) => true,
            Ok(Reader::Gone) => false,
            Err(e) => {
                if !std::mem::replace(&mut self.lost, true) {
                    output::error(&io::Error::new(
                        e.kind(),
                        format!("can't print the report: {e}"),
                    ));
                }
                false
            }
        }
    }
}

/// The times to show, with their names: those of the whole reply only where it came in pieces.
fn distributions(analysis: &Analysis) -> Vec<(&'static str, &Distribution)> {
    let all = &analysis.distributions;
    let same = |one: &Distribution, other: &Distribution| {
        one.regular.sorted == other.regular.sorted && one.fast.sorted == other.fast.sorted
    };
    let of = |metric| all.iter().find(|distribution| distribution.metric == metric);
    let at_once = of(Metric::FirstByte).zip(of(Metric::Reply)).is_some_and(|(a, b)| same(a, b));
    let name = |metric| match metric {
        Metric::FirstByte if at_once => "First byte, and with it the whole reply",
        metric => words::metric(metric),
    };
    all.iter()
        .filter(|distribution| !(at_once && distribution.metric == Metric::Reply))
        .map(|distribution| (name(distribution.metric), distribution))
        .collect()
}

/// The figures beside the times, with their names.
fn figures(analysis: &Analysis) -> Vec<(&'static str, String)> {
    let mut figures = Vec::new();
    if let Some(rtt) = analysis.rtt {
        figures.push(("TCP's RTT", format!("{} (median of the handshakes)", words::time(rtt))));
    }
    if let Some(version) = analysis.tls {
        figures.push(("TLS version", version.to_owned()));
    }
    if !analysis.both_regular {
        figures.push(("Hit rate", words::hit_rate(analysis.hit_rate)));
        for miss in &analysis.misses {
            figures.push(("Misses", words::miss(miss)));
        }
        if let Some(expectation) = words::expectation(analysis) {
            figures.push(("Expectation", expectation));
        }
    }
    if analysis.regular.count < analysis.regular.total {
        figures.push(("Regular", format!("{} came about", words::hit_rate(analysis.regular))));
    }
    figures
}

/// The comparison can't begin.
pub(crate) fn compare_failed(why: &str) -> ExitCode {
    output::error(&io::Error::other(why.to_owned()));
    ExitCode::from(output::USAGE)
}
