//! Plots for a terminal: a histogram of block characters, and cumulative curves of braille dots.

use anstyle::{AnsiColor, Style};

use super::axis::{Axis, Series, Tone, count, share_until};
use super::words;

/// Width of the names at the left.
const NAMES: usize = 15;
/// Width of the plot itself.
const WIDTH: usize = 62;
/// Height of a histogram, in lines.
const BARS: usize = 3;
/// Height of the curves, in lines.
const CURVES: usize = 10;
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The characters and colours of a plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: bool,
    pub(super) ascii: bool,
}

/// Draws a histogram for each series, one above the other.
pub(super) fn histogram(series: &[Series<'_>], axis: &Axis, look: Look) -> String {
    let drawn: Vec<(Vec<f64>, usize)> =
        series.iter().map(|series| axis.histogram(series.times, WIDTH)).collect();
    let mut text = String::new();
    for (series, (shares, beyond)) in series.iter().zip(&drawn) {
        let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let style = style(series.tone, look.colour);
        for line in (0..BARS).rev() {
            let highest = words::percent(most);
            let name = match line {
                0 => series.name,
                line if line == BARS - 1 => &highest,
                _ => "",
            };
            let bars: String = shares.iter().map(|share| block(share / most, line)).collect();
            let mut more = String::new();
            if line == 0 && *beyond > 0 {
                more = format!(" +{beyond}");
            }
            let bars = if more.is_empty() { bars.trim_end() } else { &bars };
            text += &format!("{name:>w$} │{style}{bars}{style:#}{more}\n", w = NAMES - 2);
        }
    }
    plain(text + &scale(axis), look)
}

/// Draws the cumulative distribution of each series.
pub(super) fn curves(series: &[Series<'_>], axis: &Axis, look: Look) -> String {
    let canvases: Vec<Canvas> = series.iter().map(|series| Canvas::draw(series, axis)).collect();
    let mut text = legend(series, look);
    for line in 0..CURVES {
        let label = match line {
            0 => "100 %",
            l if l == CURVES / 2 => "50 %",
            l if l == CURVES - 1 => "0 %",
            _ => "",
        };
        text += &format!("{label:>w$} │", w = NAMES - 2);
        for column in 0..WIDTH {
            let mut found =
                canvases.iter().zip(series).filter(|(canvas, _)| canvas.at(line, column) > 0);
            let Some((_, first)) = found.next() else {
                text.push(' ');
                continue;
            };
            let dots = canvases.iter().fold(0, |dots, canvas| dots | canvas.at(line, column));
            let style = style(first.tone, look.colour);
            let mark = match (look.colour && !look.ascii, found.next()) {
                (true, _) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
                (false, None) => mark(first.tone),
                (false, Some(_)) => SEVERAL,
            };
            text += &format!("{style}{mark}{style:#}");
        }
        text = text.trim_end().to_owned() + "\n";
    }
    plain(text + &scale(axis), look)
}

/// The mark where curves meet, without colour.
const SEVERAL: char = '#';

/// The mark of a curve without colour.
const fn mark(tone: Tone) -> char {
    match tone {
        Tone::Regular => 'r',
        Tone::FastOpen => 'f',
        Tone::Missed => 'x',
    }
}

fn legend(series: &[Series<'_>], look: Look) -> String {
    let mut names: Vec<String> = series
        .iter()
        .map(|series| {
            let style = style(series.tone, look.colour);
            let mark = if look.ascii || !look.colour {
                mark(series.tone).to_string()
            } else {
                "⣀⣀".to_owned()
            };
            format!("{style}{mark}{style:#} {}", series.name)
        })
        .collect();
    if series.len() > 1 && (look.ascii || !look.colour) {
        names.push(format!("{SEVERAL} several"));
    }
    format!("{}{}\n", " ".repeat(NAMES), names.join("   "))
}

/// Replaces the characters of a plot that are not ASCII, if needed.
fn plain(text: String, look: Look) -> String {
    if !look.ascii {
        return text;
    }
    let ascii = |c: char| match c {
        '│' => '|',
        '─' => '-',
        '└' | '┬' => '+',
        '▁' | '▂' => '.',
        '▃'..='▅' => ':',
        '▆'..='█' => '#',
        c => c,
    };
    text.chars().map(ascii).collect()
}

/// Draws the ticks below a plot, in milliseconds and in round trips.
fn scale(axis: &Axis) -> String {
    let mut line = vec!['─'; WIDTH];
    let (mut labels, mut trips) = (vec![' '; WIDTH + 6], vec![' '; WIDTH + 6]);
    for (tick, left) in axis.ticks.iter().zip((0..axis.ticks.len()).rev()) {
        let column = column(axis.place(*tick));
        if let Some(place) = line.get_mut(column) {
            *place = '┬';
        }
        let unit = if left == 0 { " ms" } else { "" };
        write(&mut labels, column, &format!("{}{unit}", words::tick(*tick)));
    }
    for (trip, number) in axis.round_trips.iter().zip(1..) {
        write(&mut trips, column(axis.place(*trip)), &format!("{number} RTT"));
    }
    let text = |line: Vec<char>| line.into_iter().collect::<String>();
    let mut scale = format!("{:>w$} └{}\n", "", text(line), w = NAMES - 2);
    for line in [labels, trips] {
        let line = text(line);
        if !line.trim().is_empty() {
            scale += &format!("{}{}\n", " ".repeat(NAMES), line.trim_end());
        }
    }
    scale
}

/// Writes a word centred at a column, if the place is empty.
fn write(line: &mut [char], column: usize, word: &str) {
    let len = word.chars().count();
    let start = column.saturating_sub(len / 2).min(line.len().saturating_sub(len));
    let around = start.saturating_sub(1)..(start + len + 1).min(line.len());
    if line.get(around).is_some_and(|around| around.iter().all(|c| *c == ' ')) {
        for (place, c) in line.iter_mut().skip(start).zip(word.chars()) {
            *place = c;
        }
    }
}

/// Returns the character for a bar's part in a line. Every bar that is not empty is visible.
fn block(height: f64, line: usize) -> char {
    let eighths = (height * count(BARS * 8)).ceil() - count(line * 8);
    let index = (0..=8).rev().find(|index| count(*index) <= eighths).unwrap_or(0);
    BLOCKS.get(index).copied().unwrap_or(' ')
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places are not negative, and a cast saturates"
)]
fn column(place: f64) -> usize {
    (place * count(WIDTH)).round() as usize
}

pub(super) fn style(tone: Tone, colour: bool) -> Style {
    if !colour {
        return Style::new();
    }
    let colour = match tone {
        Tone::Regular => AnsiColor::Blue,
        Tone::FastOpen => AnsiColor::Green,
        Tone::Missed => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// A grid of braille characters, each of two by four dots.
struct Canvas {
    cells: Vec<u8>,
}

impl Canvas {
    fn draw(series: &Series<'_>, axis: &Axis) -> Self {
        let mut canvas = Self { cells: vec![0; WIDTH * CURVES] };
        let rows = CURVES * 4 - 1;
        let row = |share: f64| rows - index((share * count(rows)).round());
        let mut before = rows;
        for x in 0..WIDTH * 2 {
            let until = axis.high * count(x + 1) / count(WIDTH * 2);
            let now = row(share_until(series.times, until));
            // Draws the step as a vertical line.
            for y in now..=before {
                canvas.dot(x, y);
            }
            before = now;
        }
        canvas
    }

    /// Sets a dot. The bits of U+2800 are 0, 1, 2, 6 in the left column from the top, and 3, 4, 5, 7 in the right one.
    fn dot(&mut self, x: usize, y: usize) {
        const BITS: [[u8; 2]; 4] = [[0, 3], [1, 4], [2, 5], [6, 7]];
        let bit = BITS[y % 4][x % 2];
        if let Some(cell) = self.cells.get_mut(y / 4 * WIDTH + x / 2) {
            *cell |= 1 << bit;
        }
    }

    fn at(&self, line: usize, column: usize) -> u8 {
        self.cells.get(line * WIDTH + column).copied().unwrap_or(0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 0 to the number of rows"
)]
fn index(row: f64) -> usize {
    row as usize
}
