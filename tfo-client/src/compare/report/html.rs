//! The HTML page: a single file, for screens of any size, light or dark, and for print.

use tfo_core::capture::{Ladder, PacketPath};
use tfo_core::diagnosis::{Cause, Outcome};

use super::results::{Results, target_name};
use super::svg::{self, escape};
use super::words::TAILS;
use super::{axis, words};
use crate::compare::analysis::{Analysis, Distribution, Summary};
use crate::compare::comparison::{Comparison, FailedTarget};
use crate::compare::sample::{Metric, Sample, Side, millis};
use crate::compare::statistics::{Estimate, Quantile};

const STYLE: &str = include_str!("page.css");

pub(super) fn page(results: &Results) -> String {
    let mut names = results.targets.iter().map(|result| match result {
        Ok(found) => target_name(&found.target),
        Err(failure) => target_name(&failure.target),
    });
    let title = names.next().unwrap_or_default();
    let more = match names.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let overview = if results.targets.len() > 1 { overview(results) } else { String::new() };
    let sections: Vec<String> = results
        .targets
        .iter()
        .map(|result| match result {
            Ok(found) => section(results, found),
            Err(failure) => failed(failure),
        })
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>TCP Fast Open: {}{more}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{overview}{}{}\
         </body>\n</html>\n",
        escape(&title),
        sections.join("<hr>\n"),
        foot(results),
    )
}

/// Returns a table of all targets.
fn overview(results: &Results) -> String {
    let number = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), words::number);
    let rows = each(&results.targets, |result| match result {
        Err(failure) => format!(
            "<tr><th>{}</th><td class=\"words\" colspan=\"6\">{}</td></tr>\n",
            escape(&target_name(&failure.target)),
            code(&failure.reason)
        ),
        Ok(found) => {
            let analysis = &found.analysis;
            let median = |of: fn(&Distribution) -> &Summary| {
                let median = analysis.main().and_then(|main| of(main).median);
                number(median.map(|median| median.value))
            };
            format!(
                "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td class=\"words {}\">{}</td></tr>\n",
                escape(&target_name(&found.target)),
                number(analysis.rtt),
                median(|main| &main.regular),
                median(|main| &main.fast),
                estimate(analysis.saved()),
                words::percent(analysis.hit_rate.value()),
                analysis.answer.as_str(),
                escape(words::headline(analysis)),
            )
        }
    });
    format!(
        "<h1>TCP Fast Open: {} targets</h1>\n<p></p>\n<div class=\"scroll\"><table>\n<thead><tr>\
         <th>target</th><th>RTT</th><th class=\"regular\">regular</th><th class=\"fast\">fast open</th>\
         <th>saved</th><th>hit rate</th><th class=\"words\">answer</th></tr></thead>\n<tbody>\n{rows}\
         </tbody>\n</table></div>\n<p class=\"dim\">Medians in milliseconds; in brackets the 95 % \
         confidence interval.</p>\n<hr>\n",
        results.targets.len()
    )
}

fn section(results: &Results, found: &Comparison) -> String {
    let analysis = &found.analysis;
    let title = results.title(&found.target, found.address);
    let interrupted = results.interruption(found);
    let series = axis::series(analysis);
    let picture = if series.is_empty() {
        String::new()
    } else {
        let picture = svg::draw(&title, analysis, &series);
        format!("<figure class=\"wide\">{picture}</figure>\n")
    };
    format!(
        "<main class=\"{}\">\n<h1>TCP Fast Open: {}</h1>\n<p class=\"answer\">{}</p>\n\
         <p class=\"reason\">{}</p>\n<p class=\"dim\">{}{}.</p>\n{}{picture}{}{}{}{}</main>\n",
        analysis.answer.as_str(),
        escape(&title),
        escape(words::headline(analysis)),
        code(&words::reason(analysis)),
        escape(&interrupted),
        escape(&results.plan()),
        cards(analysis),
        times(analysis),
        figures(analysis),
        ladders(found),
        if results.compare.samples { samples(found) } else { String::new() },
    )
}

fn failed(failure: &FailedTarget) -> String {
    format!(
        "<main class=\"unknown\">\n<h1>TCP Fast Open: {}</h1>\n<p class=\"answer\">Not measured.</p>\n\
         <p class=\"reason\">{}</p>\n</main>\n",
        escape(&target_name(&failure.target)),
        code(&format!("{} {}", failure.reason, failure.advice))
    )
}

fn cards(analysis: &Analysis) -> String {
    let mut cards = Vec::new();
    if let Some(saved) = analysis.saved() {
        let name = if analysis.both_regular { "difference" } else { "saved" };
        cards.push((name, words::time(saved.value), words::interval(saved)));
        if let Some((trips, rtt)) = analysis.round_trips(saved.value).zip(analysis.rtt) {
            cards.push(("round trips", format!("{trips:.2}"), format!("of {}", words::time(rtt))));
        }
    }
    if !analysis.both_regular {
        let hits = analysis.hit_rate;
        let note = format!("{} of {} connections", hits.count, hits.total);
        cards.push(("hit rate", words::percent(hits.value()), note));
        if let Some(net) = analysis.net {
            let note = format!("per connection, {}", words::interval(net));
            cards.push(("net expectation", words::time(net.value), note));
        }
    }
    let cards = each(&cards, |(name, value, note)| {
        format!(
            "<li><div class=\"name\">{}</div><div class=\"value\">{}</div>\
                 <div class=\"note\">{}</div></li>\n",
            escape(name),
            escape(value),
            code(note)
        )
    });
    format!("<ul class=\"cards\">\n{cards}</ul>\n")
}

fn times(analysis: &Analysis) -> String {
    let side = |side| words::side(side, analysis.both_regular);
    let last = if analysis.both_regular { "difference" } else { "saved" };
    let rows: String = words::distributions(analysis)
        .into_iter()
        .map(|(name, distribution)| rows(analysis, name, distribution))
        .collect();
    format!(
        "<h2>Times</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>ms</th>\
         <th class=\"regular\">{}</th><th class=\"fast\">{}</th><th>{last}</th></tr></thead>\n<tbody>\n\
         {rows}</tbody>\n</table></div>\n\
         <p class=\"dim\">In brackets the 95 % confidence interval: of quantiles by order statistics, of the \
         difference by bootstrap over the pairs. ?: too few samples for a bound.</p>\n",
        side(Side::Regular),
        side(Side::FastOpen),
    )
}

fn rows(analysis: &Analysis, name: &str, distribution: &Distribution) -> String {
    let Distribution { regular, fast, saved, .. } = distribution;
    let mut text = format!("<tr class=\"group\"><th colspan=\"4\">{}</th></tr>\n", escape(name));
    let row = |name: &str, cells: [String; 3]| {
        let cells = each(cells, |cell| format!("<td>{cell}</td>"));
        format!("<tr><th>{name}</th>{cells}</tr>\n")
    };
    let both = |of: fn(&Summary) -> Option<Quantile>| [quantile(of(regular)), quantile(of(fast))];
    let [one, two] = both(|summary| summary.median);
    text += &row("median", [one, two, estimate(*saved)]);
    for (name, of) in TAILS {
        let [one, two] = both(of);
        text += &row(name, [one, two, String::new()]);
    }
    let trips = |time: Option<f64>| {
        time.and_then(|time| analysis.round_trips(time))
            .map_or_else(String::new, |trips| format!("{trips:.2}"))
    };
    if analysis.round_trips(1.0).is_some() {
        let of = |summary: &Summary| trips(summary.median.map(|found| found.value));
        let saved = trips(saved.map(|saved| saved.value));
        text += &row("in round trips", [of(regular), of(fast), saved]);
    }
    text
}

fn quantile(quantile: Option<Quantile>) -> String {
    // The interval follows the value, in a lighter style.
    let words = escape(&words::quantile(quantile));
    match words.split_once(" [") {
        Some((value, interval)) => {
            format!("{value} <span class=\"interval\">[{interval}</span>")
        }
        None => words,
    }
}

fn estimate(estimate: Option<Estimate>) -> String {
    quantile(estimate.map(|found| Quantile {
        value: found.value,
        low: Some(found.low),
        high: Some(found.high),
    }))
}

fn figures(analysis: &Analysis) -> String {
    let figures = each(words::figures(analysis), |(name, value)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), code(&value))
    });
    format!("<h2>What to expect</h2>\n<dl>\n{figures}</dl>\n")
}

fn ladders(found: &Comparison) -> String {
    let Some(typical) = &found.typical else {
        return "<h2>A typical pair</h2>\n<p class=\"dim\">Its packets were not captured: this needs \
                CAP_NET_RAW, or <code>--lab</code>.</p>\n"
            .to_owned();
    };
    let ladder = |(sample, packets): &(Sample, Vec<PacketPath>)| {
        let title = match (sample.side, sample.verdict.outcome) {
            (Side::Regular, _) => "A regular connection".to_owned(),
            (Side::FastOpen, Outcome::FastOpen) => "Fast open".to_owned(),
            (Side::FastOpen, outcome) => format!("Fast open was tried: {outcome}"),
        };
        Ladder::new("client", found.address.ip().to_string()).title(title).packets(packets)
    };
    let [regular, fast] = typical.each_ref().map(ladder);
    let picture = regular.to_svg_beside(&fast);
    // Embedded as an image, so that its style and the page's do not affect each other.
    format!(
        "<h2>A typical pair</h2>\n<figure class=\"pair\"><img alt=\"The packets of a regular connection \
         and of one that was to use fast open\" src=\"data:image/svg+xml,{}\"></figure>\n\
         <p class=\"dim\">Made after the measurement, and not counted: of several connections, those \
         nearest to the medians. Acknowledgments without data are left out.</p>\n",
        percent_encoded(&picture)
    )
}

fn samples(found: &Comparison) -> String {
    let analysis = &found.analysis;
    let metrics: Vec<Metric> =
        analysis.distributions.iter().map(|distribution| distribution.metric).collect();
    let heads =
        each(&metrics, |metric| format!("<th>{}</th>", escape(words::metric_name(*metric))));
    let row = |sample: &Sample| {
        let class = match (sample.side, analysis.is_counted(sample)) {
            (_, false) => "missed",
            (Side::Regular, true) => "regular",
            (Side::FastOpen, true) => "fast",
        };
        let verdict = match sample.verdict.cause {
            Some(cause) if cause != Cause::DisabledByConfig => {
                format!("{} ({cause})", sample.verdict.outcome)
            }
            _ => sample.verdict.outcome.to_string(),
        };
        let time = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), words::number);
        let times = each(&metrics, |metric| format!("<td>{}</td>", time(sample.time(*metric))));
        format!(
            "<tr><td>{}{}</td><td class=\"words {class}\">{}</td><td class=\"words\">{}</td>{times}\
             <td>{}</td></tr>\n",
            sample.pair,
            if sample.first { " ①" } else { "" },
            words::side(sample.side, analysis.both_regular),
            escape(&verdict),
            time(sample.rtt.map(millis)),
        )
    };
    let rows: String = found.samples.iter().map(row).collect();
    format!(
        "<h2>All {} connections</h2>\n<div class=\"scroll samples\"><table>\n<thead><tr><th>pair</th>\
         <th class=\"words\">side</th><th class=\"words\">verdict</th>{heads}<th>RTT</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n<p class=\"dim\">Milliseconds. ①: the first of its \
         pair.</p>\n",
        found.samples.len()
    )
}

/// Returns the footer: all settings, and the version of this program.
fn foot(results: &Results) -> String {
    let Results { settings, compare, .. } = results;
    let time = |time| crate::prose::time(Some(time));
    let mut rows = vec![
        ("job", compare.job.to_string()),
        ("maximum pairs", compare.pairs.to_string()),
        ("mode", settings.probe.mode.to_string()),
    ];
    if let Some(width) = compare.until_ci {
        rows.push(("until", format!("± {}", words::percent(width))));
    }
    if compare.job.sends_message() {
        rows.push(("first bytes", format!("{} B", settings.payload.bytes())));
    }
    rows.extend([
        ("connect timeout", time(settings.probe.connect_timeout.get())),
        ("reply timeout", time(settings.probe.reply_timeout.get())),
        ("interval", time(settings.probe.interval.get())),
    ]);
    if let Some(lab) = &compare.lab {
        let boxes: Vec<&str> = lab.boxes.iter().map(|middlebox| middlebox.name()).collect();
        rows.push(("lab: round trip", time(lab.rtt)));
        rows.push(("lab: jitter", time(lab.jitter)));
        rows.push(("lab: loss", words::percent(lab.loss)));
        rows.push(("lab: servers", lab.servers.to_string()));
        rows.push(("lab: boxes", if boxes.is_empty() { "-".to_owned() } else { boxes.join(", ") }));
    }
    let rows = each(rows, |(name, value)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(&value))
    });
    format!(
        "<footer>\n<h2>Settings</h2>\n<dl>\n{rows}</dl>\n<p class=\"dim\">Written by tfo-client {}. The \
         connections of a pair are made in random order; those that fetch the cookie are not counted. Only a \
         connection whose SYN data was acknowledged by the SYN-ACK counts as fast open.</p>\n</footer>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn each<T>(items: impl IntoIterator<Item = T>, show: impl FnMut(T) -> String) -> String {
    items.into_iter().map(show).collect()
}

/// Escapes a text for HTML, and marks the parts in backticks as code.
fn code(text: &str) -> String {
    let mut html = String::new();
    for (piece, is_code) in text.split('`').zip([false, true].into_iter().cycle()) {
        // Keeps a number and its unit on one line.
        let piece = escape(piece).replace(" %", "&nbsp;%").replace(" ms", "&nbsp;ms");
        html += &if is_code { format!("<code>{piece}</code>") } else { piece };
    }
    html
}

/// Percent-encodes a text for a `data:` URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        let safe = byte.is_ascii_alphanumeric() || b" -_.~!*()=:;/,@+".contains(&byte);
        if safe {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}
