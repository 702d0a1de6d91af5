//! Draws two connections side by side on one time scale, up to the first byte of the answer.

use std::time::Duration;

use super::super::rung::{self, Reach, Rung};
use super::super::scale::{self, Clock};
use super::super::{Ladder, words::is_invisible};
use super::label::{self, Place};
use super::layout::{Arrow, Break, NOTE_HEIGHT};
use super::{Picture, class, fold_notes, shortened, told};

/// The width of a page of GitHub, so that text is shown at its size.
const WIDTH: f64 = 838.0;
/// Where the hosts of both ladders are.
const HOSTS: [(f64, f64); 2] = [(72.0, 392.0), (498.0, 818.0)];
const TITLE_Y: f64 = 30.0;
const NAMES_Y: f64 = 60.0;
const TOP: f64 = 92.0;
/// The height of the usual flight from host to host.
const FLIGHT: f64 = 84.0;
/// The height of all packets if no packet was seen at both hosts, and the maximum.
const ONE_SIDE: f64 = 320.0;
const MAX_HEIGHT: f64 = 1600.0;
const BREAK: f64 = 60.0;
/// The least space between the lines of two packets, and between two lines with a label between them.
const LINE_SPACE: f64 = 7.0;
const LABEL_SPACE: f64 = 24.0;
/// The distance of a label's baseline from its line, above or below.
const ABOVE: f64 = -6.0;
const BELOW: f64 = 17.0;
/// The least space between two marks of the time scale.
const TICK_SPACE: f64 = 60.0;
/// Maximum number of characters of the label of a tick.
const TICK_LABEL: usize = 7;
/// The number of characters of a note, and the part of its arrow below which it is centred: where the next packet in
/// the other direction is far.
const NOTE: usize = 28;
const NOTE_PART: f64 = 0.33;
/// The part of the path that the arrow of a dropped packet crosses, so that its label has room.
const DROPPED: f64 = 0.78;
/// The longest name of a host.
const NAME: usize = 19;
/// The most packets of a connection without an answer.
const UNANSWERED: usize = 12;

/// One of the two connections: the packets that matter, and the first byte of the answer.
struct Half<'a> {
    ladder: &'a Ladder,
    rungs: Vec<&'a Rung>,
    first_byte: Option<Duration>,
    client: f64,
    server: f64,
}

/// From times to heights: linear, except that silences of both connections are cut.
struct Axis {
    /// Times with their heights; the axis is linear between two of them, and cut before each one but the first.
    parts: Vec<(Duration, f64)>,
    per_second: f64,
    silences: Vec<(Duration, Break)>,
    end: Duration,
}

pub(super) fn draw(first: &Ladder, second: &Ladder) -> String {
    let [(left, right), (left2, right2)] = HOSTS;
    let halves = [Half::new(first, left, right), Half::new(second, left2, right2)];
    let flights: Vec<Rung> = halves.iter().flat_map(|half| &half.rungs).copied().cloned().collect();
    let axis = Axis::new(&flights);
    let clock = Clock::of(&flights);
    let arrows: Vec<_> = halves.iter().map(|half| half.arrows(&axis)).collect();
    let ends = arrows.iter().flatten().map(|(arrow, below)| {
        let notes: f64 = half_notes(arrow.rung).iter().map(|_| NOTE_HEIGHT).sum();
        arrow.from.1.max(arrow.to.1) + notes + if *below { LABEL_SPACE } else { 0.0 }
    });
    let bottom = ends.fold(axis.y(axis.end), f64::max) + 40.0;

    let mut picture = Picture { svg: String::new() };
    let title = [first, second].map(|ladder| ladder.title.as_deref().unwrap_or("Packets"));
    let described = [first, second].map(|ladder| told(ladder, clock));
    picture.begin(&title.join(" | "), &described.join(" "), (WIDTH, bottom + 8.0));
    picture.axis(&axis, bottom);
    for half in &halves {
        half.frame(&mut picture, bottom);
    }
    for (at, gap) in &axis.silences {
        for half in &halves {
            picture.cut(gap.y, &[half.client, half.server]);
            if half.rungs.iter().any(|rung| rung.start() > Some(*at)) {
                let middle = f64::midpoint(half.client, half.server);
                picture.text("small dim", "middle", (middle, gap.y + 5.0), &gap.words);
            }
        }
    }
    for (arrow, _) in arrows.iter().flatten() {
        picture.shaft(arrow);
    }
    for (arrow, below) in arrows.iter().flatten() {
        picture.words(arrow, if *below { BELOW } else { ABOVE });
    }
    picture.first_bytes(&halves, &arrows, &axis, clock);
    picture.svg + "</svg>\n"
}

impl<'a> Half<'a> {
    fn new(ladder: &'a Ladder, client: f64, server: f64) -> Self {
        let mut rungs: Vec<&Rung> = ladder.rungs.iter().collect();
        // The text of the ladder is in the order of the client.
        rungs.sort_by_key(|rung| rung.start());
        let answer = rungs
            .iter()
            .position(|rung| !rung.to_server() && rung.payload > 0 && rung.arrived.is_some());
        let first_byte = answer.and_then(|index| rungs.get(index)?.arrived);
        rungs.truncate(answer.map_or(usize::MAX, |index| index + 1));
        rungs.retain(|rung| !rung.bare_ack || !rung.notes.is_empty());
        if answer.is_none() {
            rungs.truncate(UNANSWERED);
        }
        Self { ladder, rungs, first_byte, client, server }
    }

    /// Places the arrows, each with whether its label is below it.
    fn arrows(&self, axis: &Axis) -> Vec<(Arrow<'a>, bool)> {
        let mut placed: Vec<(Arrow<'a>, bool)> = Vec::new();
        for &rung in &self.rungs {
            let (from, to) = if rung.to_server() {
                (self.client, self.server)
            } else {
                (self.server, self.client)
            };
            let (from, to) = match rung.reach {
                Reach::Whole => (from, to),
                Reach::Dropped => (from, from + (to - from) * DROPPED),
                Reach::Forged => (f64::midpoint(from, to), to),
                Reach::Nowhere => (f64::midpoint(from, to), f64::midpoint(from, to)),
            };
            let [start, end] = axis.ends(rung);
            let mut arrow = Arrow { rung, from: (from, start), to: (to, end) };
            let before =
                placed.iter().rfind(|(other, _)| other.rung.to_server() == rung.to_server());
            let mut below = false;
            if let Some((before, before_below)) = before {
                let gap = (start - before.from.1).min(end - before.to.1);
                let notes = half_notes(before.rung);
                // The notes of the packet before are not below the second half of its arrow, where a copy is.
                let clear = notes.is_empty() && half_notes(rung).is_empty();
                below =
                    gap < LABEL_SPACE && !before_below && (clear || rung.reach == Reach::Forged);
                let labels = LABEL_SPACE * if *before_below { 2.0 } else { 1.0 };
                let notes: f64 = notes.iter().map(|_| NOTE_HEIGHT).sum();
                let least = if below { LINE_SPACE } else { labels + notes };
                // Both ends move, so that the arrow keeps its slope.
                let moved = (least - gap).max(0.0);
                arrow.from.1 += moved;
                arrow.to.1 += moved;
            }
            // What a box answers with begins where the packet came to it, and below the notes about that.
            if rung.reach == Reach::Forged
                && !below
                && let Some((cause, _)) = placed.last()
                && cause.rung.to_server() != rung.to_server()
            {
                let notes: f64 = half_notes(cause.rung).iter().map(|_| NOTE_HEIGHT).sum();
                let came = cause.y_at(from).unwrap_or(cause.to.1);
                let moved = (came + notes + LINE_SPACE - arrow.from.1).max(0.0);
                arrow.from.1 += moved;
                arrow.to.1 += moved;
                below = true;
            }
            placed.push((arrow, below));
        }
        placed
    }

    fn frame(&self, picture: &mut Picture, bottom: f64) {
        let middle = f64::midpoint(self.client, self.server);
        if let Some(title) = &self.ladder.title {
            let title: String = title.chars().filter(|c| !is_invisible(*c)).collect();
            picture.text("title", "middle", (middle, TITLE_Y), &title);
        }
        let names = [
            ("start", self.client, -6.0, &self.ladder.client),
            ("end", self.server, 6.0, &self.ladder.server),
        ];
        for (anchor, x, aside, name) in names {
            picture.text("name", anchor, (x + aside, NAMES_Y), &shortened(name, NAME));
            picture.line("host", (x, NAMES_Y + 10.0), (x, bottom));
        }
    }
}

impl Axis {
    fn new(rungs: &[Rung]) -> Self {
        let flight = rung::flight(rungs);
        let mut spans: Vec<(Duration, Duration)> =
            rungs.iter().filter_map(|rung| Some((rung.start()?, rung.end()?))).collect();
        spans.sort_unstable();
        let end = spans.iter().map(|(_, end)| *end).max().unwrap_or_default();
        let mut cuts = Vec::new();
        let mut seen = Duration::ZERO;
        for (start, span_end) in spans {
            if let Some(silence) = scale::silence(Some(seen), Some(start), flight) {
                cuts.push((seen, start, silence));
            }
            seen = seen.max(span_end);
        }
        let silent: Duration = cuts.iter().map(|(_, _, silence)| *silence).sum();
        // What is short beside its flights keeps their slope; the rest fits on a page.
        let busy = end.saturating_sub(silent).as_secs_f64();
        let height = match flight.filter(|flight| !flight.is_zero()) {
            Some(flight) => (FLIGHT * busy / flight.as_secs_f64()).min(MAX_HEIGHT),
            None => ONE_SIDE,
        };
        let per_second = if busy > 0.0 { height / busy } else { 0.0 };
        let mut axis =
            Self { parts: vec![(Duration::ZERO, TOP)], per_second, silences: Vec::new(), end };
        for (from, to, silence) in cuts {
            // A packet that was dropped is drawn half of a flight long.
            let y = axis.y(from + flight.unwrap_or_default() / 2);
            let words = format!("nothing for {}", scale::words(silence));
            axis.silences.push((from, Break { y: y + BREAK / 2.0, words }));
            axis.parts.push((to, y + BREAK));
        }
        axis
    }

    fn y(&self, time: Duration) -> f64 {
        let part = self.parts.iter().rfind(|(from, _)| *from <= time);
        let (from, y) = part.copied().unwrap_or((Duration::ZERO, TOP));
        y + time.saturating_sub(from).as_secs_f64() * self.per_second
    }

    /// Returns the heights at which an arrow starts and ends. What happens in the middle of the path has no time of its
    /// own.
    fn ends(&self, rung: &Rung) -> [f64; 2] {
        let start = self.y(rung.start().unwrap_or_default());
        let end = self.y(rung.end().unwrap_or_default());
        match rung.reach {
            Reach::Whole => [start, end],
            Reach::Dropped => [start, start + FLIGHT * DROPPED],
            Reach::Forged => [end - FLIGHT / 2.0, end],
            Reach::Nowhere => [start, start],
        }
    }

    /// Returns the times to mark.
    fn ticks(&self) -> Vec<Duration> {
        let steps = (-6..6).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
        let step = steps.into_iter().find(|step| step * self.per_second >= TICK_SPACE);
        let Some(step) = step.map(Duration::from_secs_f64) else { return Vec::new() };
        let mut ticks = Vec::new();
        for (index, (from, _)) in self.parts.iter().enumerate() {
            let end = self.silences.get(index).map_or(self.end, |(at, _)| *at);
            let past = u64::try_from(from.as_nanos() % step.as_nanos()).unwrap_or_default();
            let mut tick = *from;
            if past > 0 {
                tick += step.saturating_sub(Duration::from_nanos(past));
            }
            while tick <= end {
                ticks.push(tick);
                tick += step;
            }
        }
        ticks
    }
}

/// Returns the label of a tick: without its unit where there is no room for it, and empty where there is none at all.
pub(super) fn tick_label(time: Duration) -> String {
    let (value, unit) = match time.as_secs() {
        ..10 => (time.as_secs_f64() * 1e3, " ms"),
        _ => (time.as_secs_f64(), " s"),
    };
    // Without the errors of binary fractions.
    let digits = format!("{value:.6}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    match digits.len() {
        len if len + unit.len() <= TICK_LABEL => format!("{digits}{unit}"),
        ..=TICK_LABEL => digits.to_owned(),
        _ => String::new(),
    }
}

/// Returns the notes of a packet in lines. What the server receives instead has no room on the arrow, and half an arrow has
/// room for no note.
fn half_notes(rung: &Rung) -> Vec<String> {
    if rung.reach == Reach::Forged {
        return Vec::new();
    }
    let arrives = rung.arrives_as.as_ref().map(|changed| format!("arrives as {}", changed.label));
    let notes: Vec<String> = arrives.into_iter().chain(rung.notes.iter().cloned()).collect();
    fold_notes(&notes, NOTE)
}

impl Picture {
    fn axis(&mut self, axis: &Axis, bottom: f64) {
        for tick in axis.ticks() {
            let y = axis.y(tick);
            if y < bottom {
                self.text("time dim", "end", (58.0, y + 4.5), &tick_label(tick));
                self.line("grid", (62.0, y), (WIDTH - 10.0, y));
            }
        }
    }

    /// Writes the label and the notes of an arrow.
    fn words(&mut self, arrow: &Arrow<'_>, dy: f64) {
        let rung = arrow.rung;
        // Only a SYN has this, and the picture shows that it is one.
        let words = rung.label.replace(" in the SYN", "");
        let words = match words.split_once(',') {
            Some((kind, _)) if rung.reach == Reach::Forged => kind.to_owned(),
            _ => words,
        };
        let arrows = std::slice::from_ref(arrow);
        let place = label::place(&words, (0.0, 1.0), arrows, 0, &mut Vec::new());
        self.along(&format!("label {}", class(rung)), arrow, place, dy, &words);
        let place = Place { part: NOTE_PART, width: 0.0, squeezed: false };
        self.notes_along(arrow, &half_notes(rung), place);
    }

    /// Marks the first byte of each answer, and the time between both.
    fn first_bytes(
        &mut self,
        halves: &[Half<'_>; 2],
        arrows: &[Vec<(Arrow<'_>, bool)>],
        axis: &Axis,
        clock: Clock,
    ) {
        let mut marks = Vec::new();
        for (half, arrows) in halves.iter().zip(arrows) {
            let Some((time, (arrow, _))) = half.first_byte.zip(arrows.last()) else { continue };
            let (x, y) = arrow.to;
            self.svg += &format!("<circle class=\"first\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\"/>\n");
            let words = format!("first byte after {}", clock.show_unit(time));
            // The label of a horizontal arrow may be below it.
            let dy = if arrow.from.1 < y - LABEL_SPACE { 22.0 } else { 40.0 };
            self.text("first", "start", (x + 12.0, y + dy), &words);
            marks.push((time, x, y));
        }
        let [(regular, x1, y1), (fast, x2, y2)] = marks[..] else { return };
        let round_trip = (FLIGHT * 2.0 / axis.per_second.max(f64::MIN_POSITIVE)).max(0.0);
        let saved = regular.as_secs_f64() - fast.as_secs_f64();
        if saved.abs() < round_trip / 2.0 {
            return;
        }
        let (class, word) = if saved > 0.0 { ("saved", "sooner") } else { ("lost", "later") };
        let x = x2 - 20.0;
        self.line(&format!("guide {class}"), (x1 + 8.0, y1), (x, y1));
        self.path(&format!("bracket {class}"), &format!("M8 0 H0 V{:.1} H8", y1 - y2), (x, y2), "");
        let difference = clock.show_unit(regular.abs_diff(fast));
        let trips = format!("{:.1}", saved.abs() / round_trip);
        let trips =
            if trips == "1.0" { "one round trip".to_owned() } else { trips + " round trips" };
        let (anchor, x) = if saved > 0.0 { ("start", x2 + 12.0) } else { ("end", x - 8.0) };
        let y = f64::midpoint(y1, y2);
        self.text(class, anchor, (x, y), &format!("{difference} {word}:"));
        self.text(class, anchor, (x, y + 19.0), &trips);
    }
}
