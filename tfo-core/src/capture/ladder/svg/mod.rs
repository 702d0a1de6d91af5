//! Draws a ladder as an SVG picture.

mod label;
mod layout;
mod pair;

use super::Ladder;
use super::rung::{Reach, Rung, Tone};
use super::scale::Clock;
use super::words::{balanced, is_invisible, wrap};
use label::Place;
use layout::{Arrow, Break, LEFT, Layout, MIDDLE, NOTE_HEIGHT, RIGHT, WIDTH};

/// The number of characters of a note beside half of an arrow, and below a whole one.
const NOTE_BESIDE: usize = 42;
const NOTE_UNDER: usize = 84;
const MAX_NOTES: usize = 4;
const MAX_NAME: usize = 42;
/// The longest name that is centred on its line.
const CENTRED_NAME: usize = 24;
const TITLE_LINE: usize = 80;

const EDGE: f64 = 12.0;
const DIAMOND: &str = "M0 -7 L7 0 L0 7 L-7 0 Z";

/// Text has an outline in the page's colour, so that lines may pass behind it.
const STYLE: &str = "\
text { font: 14px sans-serif; fill: #1f2328; stroke: #ffffff; stroke-width: 4px; \
stroke-linejoin: round; paint-order: stroke; }
.title { font-size: 19px; font-weight: bold; }
.name { font-size: 15px; font-weight: bold; }
.time, .small { font-size: 13px; }
.dim { fill: #656d76; }
.page { fill: #ffffff; }
.host { stroke: #8c959f; stroke-width: 2px; }
.cut { stroke: #8c959f; stroke-width: 2px; stroke-linecap: round; }
.shaft { stroke: #57606a; stroke-width: 1.6px; }
.head { fill: #57606a; }
.cross { stroke: #cf222e; stroke-width: 3px; stroke-linecap: round; }
.modification { fill: #9a6700; }
text.modification { font-size: 13px; }
.shaft.fast { stroke: #1a7f37; stroke-width: 2.4px; }
.head.fast { fill: #1a7f37; }
.label.fast { fill: #1a7f37; font-weight: bold; }
.shaft.bad { stroke: #cf222e; stroke-width: 2px; }
.head.bad, .label.bad { fill: #cf222e; }
.grid { stroke: #8c959f; stroke-width: 1px; stroke-opacity: 0.3; }
text.first, text.saved, text.lost { font-weight: bold; }
circle.first { fill: #0969da; stroke: #ffffff; stroke-width: 2px; }
text.first { fill: #0969da; }
.guide { stroke-width: 1.6px; stroke-dasharray: 3 4; }
.bracket { fill: none; stroke-width: 2.4px; }
text.saved { fill: #1a7f37; font-size: 16px; }
text.lost { fill: #cf222e; font-size: 16px; }
.guide.saved, .bracket.saved { stroke: #1a7f37; }
.guide.lost, .bracket.lost { stroke: #cf222e; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; stroke: #0d1117; }
.dim { fill: #8d96a0; }
.page { fill: #0d1117; }
.host, .cut { stroke: #6e7681; }
.shaft { stroke: #9ea7b3; }
.head { fill: #9ea7b3; }
.cross { stroke: #f85149; }
.modification { fill: #d29922; }
.shaft.fast { stroke: #3fb950; }
.head.fast, .label.fast { fill: #3fb950; }
.shaft.bad { stroke: #f85149; }
.head.bad, .label.bad { fill: #f85149; }
circle.first { fill: #58a6ff; stroke: #0d1117; }
text.first { fill: #58a6ff; }
text.saved { fill: #3fb950; }
text.lost { fill: #f85149; }
.guide.saved, .bracket.saved { stroke: #3fb950; }
.guide.lost, .bracket.lost { stroke: #f85149; }
}
";

/// Draws two connections side by side on one time scale.
pub(super) fn draw_pair(first: &Ladder, second: &Ladder) -> String {
    pair::draw(first, second)
}

pub(super) fn draw(ladder: &Ladder) -> String {
    let titles = ladder.title.as_deref().map_or_else(Vec::new, |title| {
        wrap(&title.chars().filter(|c| !is_invisible(*c)).collect::<String>(), TITLE_LINE)
    });
    let heights: f64 = titles.iter().map(|_| 26.0).sum();
    let names_y = if titles.is_empty() { 34.0 } else { heights + 48.0 };
    let top = names_y + 32.0;
    let layout = layout::layout(&ladder.items(), &ladder.rungs, top);
    let bottom = layout.bottom.max(top + 20.0) + 8.0;
    let clock = Clock::of(&ladder.rungs);

    let mut picture = Picture { svg: String::new() };
    let height = bottom + 16.0;
    let title = ladder.title.as_deref().unwrap_or("Packets between two hosts");
    picture.begin(title, &told(ladder, clock), (WIDTH, height));
    for (title, y) in titles.iter().zip((0..).map(|line| 38.0 + 26.0 * f64::from(line))) {
        picture.text("title", "middle", (MIDDLE, y), title);
    }
    let names =
        [(LEFT, "start", EDGE, &ladder.client), (RIGHT, "end", WIDTH - EDGE, &ladder.server)];
    for (x, anchor, edge, name) in names {
        let name = shortened(name, MAX_NAME);
        let (anchor, at) =
            if name.chars().count() > CENTRED_NAME { (anchor, edge) } else { ("middle", x) };
        picture.text("name", anchor, (at, names_y), &name);
        picture.line("host", (x, names_y + 10.0), (x, bottom));
    }
    for gap in &layout.breaks {
        picture.gap(gap);
    }
    picture.arrows(&layout, clock);
    picture.svg + "</svg>\n"
}

/// Returns the notes of a packet, wrapped into lines.
fn notes(rung: &Rung) -> Vec<String> {
    let room = match rung.reach {
        Reach::Whole => NOTE_UNDER,
        _ => NOTE_BESIDE,
    };
    fold_notes(&rung.notes, room)
}

/// Returns notes in a few lines of at most `room` characters.
fn fold_notes(notes: &[String], room: usize) -> Vec<String> {
    let lines = notes.iter().flat_map(|note| {
        balanced(&note.chars().filter(|c| !is_invisible(*c)).collect::<String>(), room)
    });
    let mut lines: Vec<String> = lines.collect();
    if lines.len() > MAX_NOTES {
        lines.truncate(MAX_NOTES);
        if let Some(last) = lines.last_mut() {
            *last += " …";
        }
    }
    lines
}

fn shortened(name: &str, most: usize) -> String {
    let name: String = name.chars().filter(|c| !is_invisible(*c)).collect();
    if name.chars().count() <= most {
        return name;
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_whitespace() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

struct Picture {
    svg: String,
}

impl Picture {
    fn begin(&mut self, title: &str, told: &str, (width, height): (f64, f64)) {
        self.svg += &format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width:.0}\" \
             height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n<title>{}</title>\n\
             <desc>{}</desc>\n<style>\n{STYLE}</style>\n\
             <rect class=\"page\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\"/>\n",
            escape(title),
            escape(told),
        );
    }

    fn text(&mut self, class: &str, anchor: &str, (x, y): (f64, f64), words: &str) {
        self.svg += &format!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
            escape(words)
        );
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.svg += &format!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        );
    }

    fn gap(&mut self, gap: &Break) {
        self.cut(gap.y, &[LEFT, RIGHT]);
        self.text("small dim", "middle", (MIDDLE, gap.y + 5.0), &gap.words);
    }

    /// Cuts the lines of hosts.
    fn cut(&mut self, y: f64, hosts: &[f64]) {
        for x in hosts {
            self.svg += &format!(
                "<rect class=\"page\" x=\"{:.1}\" y=\"{:.1}\" width=\"12\" height=\"8\"/>\n",
                x - 6.0,
                y - 4.0
            );
            for y in [y - 4.0, y + 4.0] {
                self.line("cut", (x - 8.0, y + 3.0), (x + 8.0, y - 3.0));
            }
        }
    }

    /// Draws all lines before all text, so that no line crosses a text.
    fn arrows(&mut self, layout: &Layout<'_>, clock: Clock) {
        for arrow in &layout.arrows {
            self.shaft(arrow);
        }
        let mut taken = Vec::new();
        for (index, arrow) in layout.arrows.iter().enumerate() {
            self.times(arrow, clock);
            let rung = arrow.rung;
            let mut put = |words: &str, part, class: &str| {
                let place = label::place(words, part, &layout.arrows, index, &mut taken);
                self.along(&format!("label {class}"), arrow, place, -6.0, words);
            };
            match &rung.arrives_as {
                Some(changed) => {
                    put(&rung.label, (0.0, 0.5), class(rung));
                    put(&changed.label, (0.5, 1.0), tone_class(changed.tone));
                }
                None => put(&rung.label, (0.0, 1.0), class(rung)),
            }
            self.notes(arrow, &notes(rung));
        }
    }

    fn shaft(&mut self, arrow: &Arrow<'_>) {
        let rung = arrow.rung;
        let (from, to, middle) = (arrow.from, arrow.to, arrow.point(0.5));
        let mut end = class(rung);
        if let Some(changed) = &rung.arrives_as {
            self.line(&format!("shaft {end}"), from, middle);
            end = tone_class(changed.tone);
            self.line(&format!("shaft {end}"), middle, to);
        } else if rung.reach != Reach::Nowhere {
            self.line(&format!("shaft {end}"), from, to);
        }
        if matches!(rung.reach, Reach::Dropped | Reach::Nowhere) {
            let (x, y) = to;
            self.line("cross", (x - 6.0, y - 6.0), (x + 6.0, y + 6.0));
            self.line("cross", (x - 6.0, y + 6.0), (x + 6.0, y - 6.0));
        } else {
            let angle = (to.1 - from.1).atan2(to.0 - from.0).to_degrees();
            let turn = format!(" rotate({angle:.2})");
            self.path(&format!("head {end}"), "M-1 0 L-13 -5 L-13 5 Z", to, &turn);
        }
        match rung.reach {
            Reach::Forged => self.path("modification", DIAMOND, from, ""),
            Reach::Whole if !rung.notes.is_empty() => {
                self.path("modification", DIAMOND, middle, "");
            }
            _ => {}
        }
    }

    fn path(&mut self, class: &str, path: &str, (x, y): (f64, f64), turn: &str) {
        self.svg += &format!(
            "<path class=\"{class}\" d=\"{path}\" transform=\"translate({x:.1} {y:.1}){turn}\"/>\n"
        );
    }

    fn times(&mut self, arrow: &Arrow<'_>, clock: Clock) {
        let rung = arrow.rung;
        let sent = rung.sent.filter(|_| rung.reach != Reach::Forged);
        let arrived = rung.arrived.filter(|_| rung.reach != Reach::Dropped);
        for (time, (x, y), class) in [(sent, arrow.from, "time"), (arrived, arrow.to, "time dim")] {
            let Some(time) = time else { continue };
            let (anchor, x) = if x < MIDDLE { ("end", x - 11.0) } else { ("start", x + 11.0) };
            self.text(class, anchor, (x, y + 4.5), &clock.show_unit(time));
        }
    }

    /// Draws text along an arrow, `dy` above (negative) or below its line.
    fn along(&mut self, class: &str, arrow: &Arrow<'_>, place: Place, dy: f64, words: &str) {
        let (x, y) = arrow.point(place.part);
        let squeezed = if place.squeezed {
            format!(" textLength=\"{:.0}\" lengthAdjust=\"spacingAndGlyphs\"", place.width)
        } else {
            String::new()
        };
        self.svg += &format!(
            "<text class=\"{class}\" text-anchor=\"middle\" y=\"{dy:.1}\"{squeezed} \
             transform=\"translate({x:.1} {y:.1}) rotate({:.2})\">{}</text>\n",
            arrow.angle(),
            escape(words)
        );
    }

    /// Draws notes below an arrow.
    fn notes_along(&mut self, arrow: &Arrow<'_>, lines: &[String], place: Place) {
        let heights = (0..).map(|line| NOTE_HEIGHT * f64::from(line));
        for (note, dy) in lines.iter().zip(heights) {
            self.along("modification", arrow, place, dy + 20.0, note);
        }
    }

    /// Draws the notes below an arrow; for an arrow that ends in the middle, in the half that it leaves free.
    fn notes(&mut self, arrow: &Arrow<'_>, lines: &[String]) {
        let rung = arrow.rung;
        if matches!(rung.reach, Reach::Whole | Reach::Forged) {
            self.notes_along(arrow, lines, Place { part: 0.5, width: 0.0, squeezed: false });
            return;
        }
        let heights = (0..).map(|line| NOTE_HEIGHT * f64::from(line));
        let (x, y) = arrow.to;
        let (anchor, x) = if rung.to_server() { ("start", x + 15.0) } else { ("end", x - 15.0) };
        for (note, dy) in lines.iter().zip(heights) {
            self.text("modification", anchor, (x, y + 4.5 + dy), note);
        }
    }
}

fn class(rung: &Rung) -> &'static str {
    match rung.reach {
        Reach::Dropped | Reach::Nowhere => tone_class(Tone::Refusal),
        Reach::Whole | Reach::Forged => tone_class(rung.tone),
    }
}

const fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::FastOpen => "fast",
        Tone::Refusal => "bad",
    }
}

/// Returns the picture as text, for screen readers.
fn told(ladder: &Ladder, clock: Clock) -> String {
    let items = ladder.items();
    let told = items.iter().map(|item| match item {
        super::Item::Elided { packets, .. } => format!("{packets} packets are left out."),
        super::Item::Rung(rung) => {
            let (from, to) = if rung.to_server() {
                (&ladder.client, &ladder.server)
            } else {
                (&ladder.server, &ladder.client)
            };
            let time = rung.start().map(|time| clock.show_unit(time)).unwrap_or_default();
            let mut words = format!("{time}, {from} to {to}: {}", rung.label);
            if rung.reach == Reach::Dropped {
                words += ", lost on the way";
            }
            if let Some(arrives) = &rung.arrives_as {
                words += &format!(", arrives as {}", arrives.label);
            }
            for note in &rung.notes {
                words += &format!(" ({note})");
            }
            words + "."
        }
    });
    told.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
