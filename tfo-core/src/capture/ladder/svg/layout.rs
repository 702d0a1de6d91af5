//! Computes the position of everything: times become heights.
//!
//! Time runs downward, true to scale as far as labels have room. Packets that follow each other closely are drawn
//! apart, and long pauses are cut.

use std::time::Duration;

use super::super::rung::{self, Item, Reach, Rung};
use super::super::scale;

pub(super) const WIDTH: f64 = 900.0;
pub(super) const LEFT: f64 = 120.0;
pub(super) const RIGHT: f64 = WIDTH - LEFT;
pub(super) const MIDDLE: f64 = WIDTH / 2.0;
pub(super) const NOTE_HEIGHT: f64 = 15.0;

/// The height of the usual flight from host to host.
const FLIGHT: f64 = 84.0;
/// The largest step from one event to the next.
const MAX_STEP: f64 = 150.0;
/// The largest step if no flight time is known, so that the scale has no reference.
const MAX_STEP_OF_ONE_SIDE: f64 = 56.0;
const BREAK: f64 = 76.0;
/// The least space between two times of one host.
const TIME_SPACE: f64 = 18.0;
/// The least space between horizontal arrows.
const FLAT_SPACE: f64 = 25.0;
/// The least space between arrows of one direction, so that their labels fit.
const ARROW_SPACE: f64 = 27.0;
/// The least height that an arrow falls.
const MIN_FALL: f64 = 12.0;
const MIN_HALF_FALL: f64 = 22.0;

/// The position of an arrow. An arrow that starts or ends in the middle of the path has that point there.
#[derive(Debug, Clone)]
pub(super) struct Arrow<'a> {
    pub(super) rung: &'a Rung,
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
}

/// A cut through both lines, with a text between them.
#[derive(Debug, Clone)]
pub(super) struct Break {
    pub(super) y: f64,
    pub(super) words: String,
}

#[derive(Debug, Default)]
pub(super) struct Layout<'a> {
    pub(super) arrows: Vec<Arrow<'a>>,
    pub(super) breaks: Vec<Break>,
    pub(super) bottom: f64,
}

impl Arrow<'_> {
    /// Returns the height of the arrow's line at `x`, if the arrow reaches there.
    pub(super) fn y_at(&self, x: f64) -> Option<f64> {
        let ((x1, y1), (x2, y2)) = (self.from, self.to);
        let inside = (x1.min(x2)..x1.max(x2)).contains(&x);
        inside.then(|| y1 + (y2 - y1) * (x - x1) / (x2 - x1))
    }

    /// Returns the angle of text along the arrow, in degrees.
    pub(super) fn angle(&self) -> f64 {
        let (dx, dy) = (self.to.0 - self.from.0, self.to.1 - self.from.1);
        (dy * dx.signum()).atan2(dx.abs()).to_degrees()
    }

    /// Returns the point at this part of the arrow, from its start.
    pub(super) fn point(&self, part: f64) -> (f64, f64) {
        let between = |a: f64, b: f64| a + (b - a) * part;
        (between(self.from.0, self.to.0), between(self.from.1, self.to.1))
    }
}

/// One end of an arrow.
#[derive(Debug, Clone, Copy)]
struct Event {
    time: Duration,
    arrow: usize,
    place: Place,
    starts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Client = 0,
    Server = 1,
    Middle = 2,
}

/// The heights that were used, to keep the next item at a distance.
#[derive(Debug, Clone, Copy)]
struct Heights {
    now: f64,
    /// The height of the last event at each host.
    host: [f64; 2],
    /// The height below the last arrow of each direction, where it starts and where it ends.
    starts: [f64; 2],
    ends: [f64; 2],
}

pub(super) fn layout<'a>(items: &[Item<'a>], rungs: &[Rung], top: f64) -> Layout<'a> {
    let mut layout = Layout { bottom: top, ..Layout::default() };
    let flight = rung::flight(rungs);
    let parts = items.split(|item| matches!(item, Item::Elided { .. }));
    let mut elided = items.iter().filter_map(|item| match item {
        Item::Elided { packets, bytes } => Some(scale::elided(*packets, *bytes)),
        Item::Rung(_) => None,
    });
    for part in parts {
        let top = layout.bottom;
        layout.add(part, flight, top);
        if let Some(words) = elided.next() {
            layout
                .breaks
                .push(Break { y: layout.bottom + BREAK / 2.0, words: format!("… {words} …") });
            layout.bottom += BREAK;
        }
    }
    layout
}

impl<'a> Layout<'a> {
    fn add(&mut self, items: &[Item<'a>], flight: Option<Duration>, top: f64) {
        let first = self.arrows.len();
        let mut events = Vec::new();
        for item in items {
            let Item::Rung(rung) = *item else { continue };
            let arrow = self.arrows.len();
            events.extend(ends(rung, flight).map(|(time, place, starts)| Event {
                time,
                arrow,
                place,
                starts,
            }));
            let (from, to) = if rung.to_server() { (LEFT, RIGHT) } else { (RIGHT, LEFT) };
            let (from, to) = match rung.reach {
                Reach::Whole => (from, to),
                Reach::Dropped => (from, MIDDLE),
                Reach::Forged => (MIDDLE, to),
                Reach::Nowhere => (MIDDLE, MIDDLE),
            };
            self.arrows.push(Arrow { rung, from: (from, f64::NAN), to: (to, f64::NAN) });
        }
        events.sort_by_key(|event| (event.time, event.arrow, !event.starts));
        let scale = scale_of(&events, flight);
        let mut heights =
            Heights { now: top, host: [f64::NEG_INFINITY; 2], starts: [top; 2], ends: [top; 2] };
        let mut before: Option<Duration> = None;
        let mut seen: Option<Duration> = None;
        let mut under_way = 0_usize;
        for event in events {
            let silence = scale::silence(seen, Some(event.time), flight);
            if let Some(silence) = silence.filter(|_| under_way == 0) {
                let words = format!("nothing for {}", scale::words(silence));
                let from = heights.below();
                self.breaks.push(Break { y: from + BREAK / 2.0, words });
                heights.now = from + BREAK;
            } else {
                let step = event.time.saturating_sub(before.unwrap_or(event.time));
                heights.now += (step.as_secs_f64() * scale).min(MAX_STEP);
            }
            before = Some(event.time);
            // What happens in the middle of the path has no time of its own.
            if event.place != Place::Middle {
                seen = before;
            }
            if let Some(arrow) = self.arrows.get_mut(event.arrow) {
                heights.place(event, arrow);
                if arrow.rung.sent.is_some() && arrow.rung.arrived.is_some() {
                    under_way =
                        if event.starts { under_way + 1 } else { under_way.saturating_sub(1) };
                }
            }
        }
        self.level(first);
        self.bottom = heights.below();
    }

    /// Draws an arrow horizontally if only one end has a time.
    fn level(&mut self, first: usize) {
        for arrow in self.arrows.iter_mut().skip(first) {
            let known = if arrow.from.1.is_nan() { arrow.to.1 } else { arrow.from.1 };
            for end in [&mut arrow.from, &mut arrow.to] {
                if end.1.is_nan() {
                    end.1 = known;
                }
            }
        }
    }
}

impl Heights {
    /// Returns the height below everything that was placed.
    fn below(&self) -> f64 {
        let all = self.starts.iter().chain(&self.ends).chain([&self.now]);
        all.copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn place(&mut self, event: Event, arrow: &mut Arrow<'_>) {
        let direction = usize::from(!arrow.rung.to_server());
        let notes = super::notes(arrow.rung).len();
        let under = ARROW_SPACE + notes_height(notes);
        let mut y = self.now;
        if let Some(last) = self.host.get_mut(event.place as usize) {
            let flat = arrow.rung.reach == Reach::Whole && arrow.rung.flight().is_none();
            y = y.max(*last + if flat { FLAT_SPACE } else { TIME_SPACE });
        }
        let fall = if event.place == Place::Middle { MIN_HALF_FALL } else { MIN_FALL };
        let lanes = if event.starts { &mut self.starts } else { &mut self.ends };
        if let Some(lane) = lanes.get_mut(direction) {
            y = y.max(*lane);
            if !event.starts && !arrow.from.1.is_nan() {
                y = y.max(arrow.from.1 + fall);
            }
            *lane = y + under;
        }
        if let Some(last) = self.host.get_mut(event.place as usize) {
            *last = y;
        }
        *(if event.starts { &mut arrow.from.1 } else { &mut arrow.to.1 }) = y;
        self.now = y;
    }
}

fn notes_height(notes: usize) -> f64 {
    (0..notes).map(|_| NOTE_HEIGHT).sum()
}

/// Returns when and where an arrow starts and ends, as far as known. The middle of the path is half of the way.
fn ends(
    rung: &Rung,
    flight: Option<Duration>,
) -> impl Iterator<Item = (Duration, Place, bool)> + use<> {
    let (sender, receiver) = if rung.to_server() {
        (Place::Client, Place::Server)
    } else {
        (Place::Server, Place::Client)
    };
    let half = flight.unwrap_or_default() / 2;
    let start = match rung.reach {
        Reach::Forged => rung.arrived.map(|time| (time.saturating_sub(half), Place::Middle, true)),
        Reach::Nowhere => Some((rung.start().unwrap_or_default(), Place::Middle, true)),
        _ => rung.sent.map(|time| (time, sender, true)),
    };
    let end = match rung.reach {
        Reach::Dropped => rung.sent.map(|time| (time.saturating_add(half), Place::Middle, false)),
        _ => rung.arrived.map(|time| (time, receiver, false)),
    };
    start.into_iter().chain(end)
}

/// Returns the height per second.
fn scale_of(events: &[Event], flight: Option<Duration>) -> f64 {
    if let Some(flight) = flight.filter(|flight| !flight.is_zero()) {
        return FLIGHT / flight.as_secs_f64();
    }
    let steps = events.windows(2).filter_map(|pair| match pair {
        [one, two] => two.time.checked_sub(one.time),
        _ => None,
    });
    let usual =
        steps.filter(|step| scale::silence(Some(Duration::ZERO), Some(*step), flight).is_none());
    match usual.max() {
        Some(longest) if !longest.is_zero() => MAX_STEP_OF_ONE_SIDE / longest.as_secs_f64(),
        _ => 0.0,
    }
}
