//! Places labels along arrows so that they cover as little as possible.

use super::layout::{Arrow, LEFT, RIGHT};

/// The average width of a label's character; generous, because the font is not known.
pub(super) const CHARACTER: f64 = 7.4;
/// The height of a label above its arrow.
const HEIGHT: f64 = 17.0;
/// The space that stays free at each end of an arrow.
const MARGIN: f64 = 16.0;
/// The parts of an arrow at which a label may be centred, the best first.
const PARTS: [f64; 9] = [0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.2, 0.8];
/// The points of a label that are checked for overlap.
const SAMPLES: [f64; 5] = [-0.5, -0.25, 0.0, 0.25, 0.5];

/// The centre and the length of a label on its arrow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) part: f64,
    pub(super) width: f64,
    /// The text is too long for the arrow and must be squeezed into the width.
    pub(super) squeezed: bool,
}

/// A label that was placed before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    arrow: usize,
    x: f64,
    width: f64,
}

pub(super) fn width(words: &str) -> f64 {
    words.chars().map(|_| CHARACTER).sum()
}

/// Returns the place for a text on the part of an arrow between `from` and `to`.
pub(super) fn place(
    words: &str,
    (from, to): (f64, f64),
    arrows: &[Arrow<'_>],
    index: usize,
    taken: &mut Vec<Taken>,
) -> Place {
    let natural = width(words);
    let Some(arrow) = arrows.get(index) else {
        return Place { part: 0.5, width: natural, squeezed: false };
    };
    let length = (arrow.to.0 - arrow.from.0).abs().max(1.0);
    let room = (length * (to - from) - 2.0 * MARGIN).max(MARGIN);
    let width = natural.min(room);
    let half = (width / 2.0 + MARGIN) / length;
    let (first, last) = (from + half, (to - half).max(from + half));
    let part = PARTS
        .iter()
        .map(|part| (from + part * (to - from)).clamp(first, last))
        .map(|part| (cost(arrow.point(part).0, width, arrows, index, taken), part))
        .reduce(|best, next| if next.0 < best.0 { next } else { best })
        .map_or(0.5, |(_, part)| part);
    taken.push(Taken { arrow: index, x: arrow.point(part).0, width });
    Place { part, width, squeezed: natural > room }
}

/// Returns how many lines and labels a place would cover.
fn cost(x: f64, width: f64, arrows: &[Arrow<'_>], index: usize, taken: &[Taken]) -> usize {
    let Some(own) = arrows.get(index) else { return 0 };
    let samples = SAMPLES.map(|sample| (x + sample * width).clamp(LEFT, RIGHT));
    let above = |x: f64, other: f64| own.y_at(x).is_some_and(|y| other > y - HEIGHT && other < y);
    let covers_line = |other: &Arrow<'_>| {
        // A crossing between two points shows as a change of side.
        let sides = samples.map(|x| match (own.y_at(x), other.y_at(x)) {
            (Some(own), Some(other)) => Some(other < own - HEIGHT / 2.0),
            _ => None,
        });
        let crosses = sides.windows(2).any(|pair| matches!(pair, [Some(a), Some(b)] if a != b));
        crosses || samples.iter().any(|x| other.y_at(*x).is_some_and(|y| above(*x, y)))
    };
    let covers_label = |label: &&Taken| {
        arrows.get(label.arrow).is_some_and(|other| {
            samples.iter().any(|x| {
                let near = (x - label.x).abs() <= label.width / 2.0;
                let (Some(own), Some(other)) = (own.y_at(*x), other.y_at(*x)) else { return false };
                near && (own - other).abs() < HEIGHT
            })
        })
    };
    let lines = arrows.iter().enumerate().filter(|(i, other)| *i != index && covers_line(other));
    lines.count() + 3 * taken.iter().filter(covers_label).count()
}
