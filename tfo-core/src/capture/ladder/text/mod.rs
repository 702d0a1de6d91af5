//! A ladder as text.

mod arrow;

use std::time::Duration;

use super::Ladder;
use super::rung::{self, Item, Reach, Rung, Tone};
use super::scale::{self, Clock};
use super::words::{balanced, count, is_invisible, wrap};

const DEFAULT_WIDTH: usize = 80;
const MIN_WIDTH: usize = 40;
const MAX_WIDTH: usize = 400;
/// The shortest pause that separates two flights of packets by an empty row.
const PAUSE: Duration = Duration::from_millis(1);
/// The shortest such pause if only one host's clock is known.
const PAUSE_OF_ONE_SIDE: Duration = Duration::from_millis(5);
/// Room for "ms" above the times.
const MIN_TIME_WIDTH: usize = 2;

/// The format of a ladder as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextStyle {
    /// The most columns of a line: 80 by default, 40 to 400.
    pub width: usize,
    /// Whether to use ANSI colours. Off by default.
    pub colour: bool,
    /// Whether to use ASCII characters only. Off by default.
    pub ascii: bool,
}

impl Default for TextStyle {
    fn default() -> Self {
        Self { width: DEFAULT_WIDTH, colour: false, ascii: false }
    }
}

impl TextStyle {
    /// Sets the maximum line width, in columns.
    #[must_use]
    pub const fn width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// Sets whether to use colours.
    #[must_use]
    pub const fn colour(self, colour: bool) -> Self {
        Self { colour, ..self }
    }

    /// Sets whether to use ASCII characters only.
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
    modification: char,
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
    modification: '◆',
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
    modification: '*',
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

    const fn of(tone: Tone) -> Self {
        match tone {
            Tone::Plain => Self::Plain,
            Tone::FastOpen => Self::Green,
            Tone::Refusal => Self::Red,
        }
    }

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

/// The text between the two lines and beside them.
struct Row {
    times: [Option<Duration>; 2],
    /// The colours of the times: where the packet leaves, with the time that orders the rows, and where it arrives.
    time_paints: [Paint; 2],
    edges: [char; 2],
    body: Vec<Piece>,
}

struct Canvas {
    style: TextStyle,
    glyphs: &'static Glyphs,
    clock: Clock,
    time_width: usize,
    /// The columns between the two lines.
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
                let now = rung.at_client(flight.unwrap_or_default());
                if let Some((row_before, ended)) = before {
                    let silence = scale::silence(ended, rung.start(), flight);
                    canvas.pause(silence, row_before, now, pause);
                }
                canvas.rung(rung);
                before = Some((now, latest));
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
        // On each side there are a line and the space between it and the times.
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

    /// Separates flights of packets by an empty row, and names a long silence.
    fn pause(
        &mut self,
        silence: Option<Duration>,
        before: Option<Duration>,
        now: Option<Duration>,
        pause: Duration,
    ) {
        if let Some(silence) = silence {
            self.gap(&format!("nothing for {}", scale::words(silence)), Paint::Dim);
        } else if let (Some(before), Some(now)) = (before, now)
            && now.saturating_sub(before) >= pause
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
        let (mut body, notes) = arrow::draw(self, rung);
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

    /// Adds a line without trailing spaces. Neighbours of one colour share their escapes.
    fn line(&mut self, pieces: &[Piece]) {
        let used = pieces.iter().rposition(|(_, text)| !text.trim().is_empty());
        let pieces = pieces.get(..used.map_or(0, |last| last + 1)).unwrap_or_default();
        let mut pieces = pieces.to_vec();
        if let Some((_, text)) = pieces.last_mut() {
            text.truncate(text.trim_end().len());
        }
        for run in pieces.chunk_by(|(one, _), (other, _)| one == other) {
            let paint = run.first().map_or(Paint::Plain, |(paint, _)| *paint);
            let coloured = self.style.colour && paint != Paint::Plain;
            if coloured {
                self.text += paint.start();
            }
            self.text.extend(run.iter().map(|(_, text)| text.as_str()));
            if coloured {
                self.text += Paint::END;
            }
        }
        self.text.push('\n');
    }

    /// Removes what would break the line, the columns or the restriction to ASCII.
    fn clean(&self, text: &str) -> String {
        let kept = text.chars().filter(|c| !is_invisible(*c));
        kept.map(|c| match c {
            c if c.is_whitespace() => ' ',
            c if self.style.ascii && !c.is_ascii() => '?',
            c => c,
        })
        .collect()
    }

    /// Cuts text to at most `room` columns.
    fn fit(&self, text: &str, room: usize) -> String {
        if count(text) <= room {
            return text.to_owned();
        }
        let dots = self.glyphs.ellipsis;
        let kept = room.saturating_sub(count(dots));
        text.chars().take(kept).chain(dots.chars().take(room)).collect()
    }
}

#[cfg(test)]
mod tests;
