//! A ladder as text.

use std::time::Duration;

use super::Ladder;
use super::rung::{self, Item, Reach, Rung, Tone};
use super::scale::{self, Clock};

const DEFAULT_WIDTH: usize = 80;
const MIN_WIDTH: usize = 40;
const MAX_WIDTH: usize = 400;
/// The least that separates two flights of packets by an empty row.
const PAUSE: Duration = Duration::from_millis(1);
/// … where only one host's clock is known.
const PAUSE_OF_ONE_SIDE: Duration = Duration::from_millis(5);
/// Room for "ms" above the times.
const MIN_TIME_WIDTH: usize = 2;

/// How a ladder is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextStyle {
    /// Columns that no line exceeds: 80 by default, 40 to 400.
    pub width: usize,
    /// Whether to colour it by ANSI escapes. Not by default.
    pub colour: bool,
    /// Whether to use no character beyond ASCII. Not by default.
    pub ascii: bool,
}

impl Default for TextStyle {
    fn default() -> Self {
        Self { width: DEFAULT_WIDTH, colour: false, ascii: false }
    }
}

impl TextStyle {
    /// The same, so many columns wide.
    #[must_use]
    pub const fn width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// The same, with or without colour.
    #[must_use]
    pub const fn colour(self, colour: bool) -> Self {
        Self { colour, ..self }
    }

    /// The same, with or without characters beyond ASCII.
    #[must_use]
    pub const fn ascii(self, ascii: bool) -> Self {
        Self { ascii, ..self }
    }
}

struct Glyphs {
    line: char,
    from_left: char,
    from_right: char,
    gap: char,
    dash: char,
    to_right: char,
    to_left: char,
    cut: char,
    deed: char,
    ellipsis: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    line: '│',
    from_left: '├',
    from_right: '┤',
    gap: '┊',
    dash: '─',
    to_right: '►',
    to_left: '◄',
    cut: '✗',
    deed: '◆',
    ellipsis: "…",
};

const ASCII: Glyphs = Glyphs {
    line: '|',
    from_left: '|',
    from_right: '|',
    gap: ':',
    dash: '-',
    to_right: '>',
    to_left: '<',
    cut: 'x',
    deed: '*',
    ellipsis: "...",
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
}

impl Paint {
    const END: &str = "\x1b[0m";

    const fn start(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Green => "\x1b[1;32m",
            Self::Red => "\x1b[31m",
            Self::Yellow => "\x1b[33m",
        }
    }
}

type Piece = (Paint, String);

/// What stands between the two lines and outside of them.
struct Row {
    times: [Option<Duration>; 2],
    /// Of the times: where the packet leaves, the time that orders the rows, and where it arrives.
    time_paints: [Paint; 2],
    edges: [char; 2],
    body: Vec<Piece>,
}

struct Canvas {
    style: TextStyle,
    glyphs: &'static Glyphs,
    clock: Clock,
    time_width: usize,
    /// Columns between the two lines.
    inner: usize,
    text: String,
}

pub(super) fn draw(ladder: &Ladder, style: TextStyle) -> String {
    let items = ladder.items();
    let mut canvas = Canvas::new(ladder, style, &items);
    canvas.head(ladder);
    let flight = rung::flight(&ladder.rungs);
    let pause = flight.map_or(PAUSE_OF_ONE_SIDE, |flight| PAUSE.max(flight / 2));
    let mut before: Option<(Option<Duration>, Option<Duration>)> = None;
    for (item, latest) in items.iter().zip(scale::latest(&items)) {
        match item {
            Item::Rung(rung) => {
                if let Some((started, ended)) = before {
                    canvas.pause(started, ended, rung.start(), flight, pause);
                }
                canvas.rung(rung);
                before = Some((rung.start(), latest));
            }
            Item::Elided { packets, bytes } => {
                let dots = canvas.glyphs.ellipsis;
                let words = scale::elided(*packets, *bytes);
                canvas.gap(&format!("{dots} {words} {dots}"), Paint::Dim);
                before = None;
            }
        }
    }
    canvas.text
}

impl Canvas {
    fn new(ladder: &Ladder, style: TextStyle, items: &[Item<'_>]) -> Self {
        let clock = Clock::of(&ladder.rungs);
        let times = items.iter().flat_map(|item| match item {
            Item::Rung(rung) => [rung.sent, rung.arrived],
            Item::Elided { .. } => [None, None],
        });
        let time_width = times.flatten().map(|time| clock.show(time).len()).max();
        let time_width = time_width.unwrap_or_default().max(MIN_TIME_WIDTH);
        let width = style.width.clamp(MIN_WIDTH, MAX_WIDTH);
        // On each side a line and the space between it and the times.
        let inner = width.saturating_sub(2 * (time_width + 2));
        let glyphs = if style.ascii { &ASCII } else { &UNICODE };
        Self { style, glyphs, clock, time_width, inner, text: String::new() }
    }

    fn head(&mut self, ladder: &Ladder) {
        if let Some(title) = &ladder.title {
            for line in wrap(&self.clean(title), self.inner + 2 * (self.time_width + 2)) {
                self.line(&[(Paint::Bold, line)]);
            }
            self.line(&[]);
        }
        let room = self.inner / 2;
        let client = self.fit(&self.clean(&ladder.client), room);
        let server = self.fit(&self.clean(&ladder.server), room);
        let between = (self.inner + 2).saturating_sub(count(&client) + count(&server));
        let unit = |text: String| (Paint::Dim, text);
        self.line(&[
            unit(format!("{:>1$} ", "ms", self.time_width)),
            (Paint::Bold, client),
            (Paint::Plain, " ".repeat(between)),
            (Paint::Bold, server),
            unit(format!(" {:>1$}", "ms", self.time_width)),
        ]);
    }

    /// Tells flights of packets apart by an empty row, and names a long silence.
    fn pause(
        &mut self,
        started: Option<Duration>,
        ended: Option<Duration>,
        next: Option<Duration>,
        flight: Option<Duration>,
        pause: Duration,
    ) {
        if let Some(silence) = scale::silence(ended, next, flight) {
            self.gap(&format!("nothing for {}", scale::words(silence)), Paint::Dim);
        } else if let (Some(started), Some(next)) = (started, next)
            && next.saturating_sub(started) >= pause
        {
            self.row(Row {
                times: [None; 2],
                time_paints: [Paint::Dim; 2],
                edges: [self.glyphs.line; 2],
                body: self.blank(),
            });
        }
    }

    fn gap(&mut self, words: &str, paint: Paint) {
        let edges = [self.glyphs.gap; 2];
        self.row(Row { times: [None; 2], time_paints: [Paint::Dim; 2], edges, body: self.blank() });
        let body = self.centred(words, paint);
        self.row(Row { times: [None; 2], time_paints: [Paint::Dim; 2], edges, body });
        self.row(Row { times: [None; 2], time_paints: [Paint::Dim; 2], edges, body: self.blank() });
    }

    fn rung(&mut self, rung: &Rung) {
        let (mut body, notes) = self.arrow(rung);
        let mut times = [rung.sent, rung.arrived];
        let mut time_paints = [Paint::Plain, Paint::Dim];
        let line = self.glyphs.line;
        let leaves = matches!(rung.reach, Reach::Whole | Reach::Dropped);
        let mut edges = [if leaves { self.glyphs.from_left } else { line }, line];
        if !rung.to_server() {
            body.reverse();
            times.reverse();
            time_paints.reverse();
            edges = [line, if leaves { self.glyphs.from_right } else { line }];
        }
        self.row(Row { times, time_paints, edges, body });
        for note in notes {
            for part in balanced(&note, self.inner.saturating_sub(4)) {
                let body = self.centred(&part, Paint::Yellow);
                self.row(Row {
                    times: [None; 2],
                    time_paints: [Paint::Dim; 2],
                    edges: [line; 2],
                    body,
                });
            }
        }
    }

    /// The pieces from the sender to the receiver, and the notes that found no place among them.
    fn arrow(&self, rung: &Rung) -> (Vec<Piece>, Vec<String>) {
        let mut notes: Vec<String> = rung.notes.iter().map(|note| self.clean(note)).collect();
        let glyphs = self.glyphs;
        let head = if rung.to_server() { glyphs.to_right } else { glyphs.to_left };
        let paint = match (rung.reach, rung.tone) {
            (Reach::Dropped | Reach::Nowhere, _) | (_, Tone::Refusal) => Paint::Red,
            (_, Tone::FastOpen) => Paint::Green,
            (_, Tone::Plain) => Paint::Plain,
        };
        let n = self.inner;
        let label = self.fit(&rung.label, n.saturating_sub(6));
        let shaft = |length: usize| (paint, glyphs.dash.to_string().repeat(length));
        let words = |text: &str| (paint, format!(" {text} "));
        // A dash before it, a space on each side.
        let labelled = count(&label) + 3;
        let middle = (n / 2).max(labelled + 1).min(n.saturating_sub(1));
        let body = match rung.reach {
            Reach::Whole if notes.is_empty() && rung.arrives_as.is_none() => {
                let dashes = n.saturating_sub(count(&label) + 3);
                let before = dashes / 2;
                let end = (paint, head.to_string());
                vec![shaft(before), words(&label), shaft(dashes - before), end]
            }
            Reach::Whole => {
                let mut arrives = rung.arrives_as.as_deref().unwrap_or_default();
                let mut needed = count(arrives) + 5;
                if !arrives.is_empty() && labelled + 1 + needed > n {
                    notes.insert(0, format!("arrives as {arrives}"));
                    arrives = "";
                }
                if arrives.is_empty() {
                    needed = 2;
                }
                let before = (n / 2).max(labelled).min(n.saturating_sub(1 + needed));
                let rest = n.saturating_sub(before + 2);
                let mut body = vec![
                    shaft(1),
                    words(&label),
                    shaft(before.saturating_sub(labelled)),
                    (Paint::Yellow, glyphs.deed.to_string()),
                ];
                if arrives.is_empty() {
                    body.push(shaft(rest));
                } else {
                    let dashes = rest.saturating_sub(count(arrives) + 2);
                    body.extend([shaft(dashes / 2), words(arrives), shaft(dashes - dashes / 2)]);
                }
                body.push((paint, head.to_string()));
                body
            }
            Reach::Dropped => {
                let mut body = vec![
                    shaft(1),
                    words(&label),
                    shaft(middle.saturating_sub(labelled)),
                    (Paint::Red, glyphs.cut.to_string()),
                ];
                body.extend(self.beside(&mut notes, n.saturating_sub(middle + 1), false));
                body
            }
            Reach::Forged => {
                let length = middle.saturating_sub(labelled + 1) + 1;
                let used = labelled + 1 + length;
                let mut body = self.beside(&mut notes, n.saturating_sub(used), true);
                body.extend([
                    (Paint::Yellow, glyphs.deed.to_string()),
                    shaft(1),
                    words(&label),
                    shaft(length - 1),
                    (paint, head.to_string()),
                ]);
                body
            }
            Reach::Nowhere => self.centred(&label, paint),
        };
        (body, notes)
    }

    /// The only note, if it fits beside the half of an arrow; else space.
    fn beside(&self, notes: &mut Vec<String>, room: usize, before: bool) -> Vec<Piece> {
        let note = match notes.as_slice() {
            [note] if count(note) + 2 <= room => notes.remove(0),
            _ => return vec![(Paint::Plain, " ".repeat(room))],
        };
        let space = (Paint::Plain, " ".repeat(room - count(&note) - 1));
        let mut pieces = vec![(Paint::Plain, " ".to_owned()), (Paint::Yellow, note), space];
        if before {
            pieces.reverse();
        }
        pieces
    }

    fn blank(&self) -> Vec<Piece> {
        vec![(Paint::Plain, " ".repeat(self.inner))]
    }

    fn centred(&self, words: &str, paint: Paint) -> Vec<Piece> {
        let words = self.fit(words, self.inner);
        let space = self.inner.saturating_sub(count(&words));
        let side = |length: usize| (Paint::Plain, " ".repeat(length));
        vec![side(space / 2), (paint, words), side(space - space / 2)]
    }

    fn row(&mut self, row: Row) {
        let [left, right] = row.times.map(|time| {
            let time = time.map(|time| self.clock.show(time)).unwrap_or_default();
            format!("{time:>0$}", self.time_width)
        });
        let [from, to] = row.edges.map(|edge| (Paint::Plain, edge.to_string()));
        let [left_paint, right_paint] = row.time_paints;
        let mut pieces = vec![(left_paint, left + " "), from];
        pieces.extend(row.body);
        pieces.extend([to, (right_paint, format!(" {right}"))]);
        self.line(&pieces);
    }

    /// Adds a line without spaces at its end; blank pieces get no colour.
    fn line(&mut self, pieces: &[Piece]) {
        let used = pieces.iter().rposition(|(_, text)| !text.trim().is_empty());
        let last = used.map_or(0, |last| last + 1);
        for (index, (paint, text)) in pieces.iter().take(last).enumerate() {
            let text = if index + 1 == last { text.trim_end() } else { text };
            if self.style.colour && *paint != Paint::Plain && !text.trim().is_empty() {
                self.text.extend([paint.start(), text, Paint::END]);
            } else {
                self.text += text;
            }
        }
        self.text.push('\n');
    }

    /// Without what would break the line, the columns or the wish for ASCII.
    fn clean(&self, text: &str) -> String {
        let kept = text.chars().filter(|c| !is_invisible(*c));
        kept.map(|c| match c {
            c if c.is_whitespace() => ' ',
            c if self.style.ascii && !c.is_ascii() => '?',
            c => c,
        })
        .collect()
    }

    /// At most so many columns of it.
    fn fit(&self, text: &str, room: usize) -> String {
        if count(text) <= room {
            return text.to_owned();
        }
        let dots = self.glyphs.ellipsis;
        let kept = room.saturating_sub(count(dots));
        text.chars().take(kept).chain(dots.chars().take(room)).collect()
    }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// Control characters, and marks that take no column or turn the direction of writing.
pub(super) fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// Lines of at most so many columns, broken between words where there are any.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && count(&line) + 1 + count(word) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if count(&line) == room {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// As few lines as [`wrap`] needs, of about the same length.
fn balanced(text: &str, room: usize) -> Vec<String> {
    let lines = wrap(text, room);
    let least = count(text) / lines.len().max(1);
    let narrower = (least..room).map(|room| wrap(text, room));
    narrower.into_iter().find(|narrower| narrower.len() <= lines.len()).unwrap_or(lines)
}

#[cfg(test)]
mod tests;
