//! Draws one packet as the pieces between the two lines, from its sender to its receiver.

use super::super::rung::{Changed, Reach, Rung};
use super::super::words::count;
use super::{Canvas, Glyphs, Paint, Piece};

/// The columns of a dash and two spaces around a label.
const AROUND_LABEL: usize = 3;
/// The columns around the label after the middle, with the arrow's head.
const AROUND_SECOND: usize = 5;

struct Pen {
    glyphs: &'static Glyphs,
    head: char,
    /// The columns between the two lines.
    columns: usize,
    paint: Paint,
    label: String,
}

/// Returns the pieces of an arrow, and the notes that did not fit among them.
pub(super) fn draw(canvas: &Canvas, rung: &Rung) -> (Vec<Piece>, Vec<String>) {
    let glyphs = canvas.glyphs;
    let pen = Pen {
        glyphs,
        head: if rung.to_server() { glyphs.to_right } else { glyphs.to_left },
        columns: canvas.inner,
        paint: match rung.reach {
            Reach::Dropped | Reach::Nowhere => Paint::Red,
            Reach::Whole | Reach::Forged => Paint::of(rung.tone),
        },
        label: canvas.fit(&rung.label, canvas.inner.saturating_sub(AROUND_LABEL + 3)),
    };
    let mut notes: Vec<String> = rung.notes.iter().map(|note| canvas.clean(note)).collect();
    let body = match (rung.reach, &rung.arrives_as) {
        (Reach::Whole, None) if notes.is_empty() => pen.plain(),
        (Reach::Whole, None) => pen.touched(),
        (Reach::Whole, Some(changed)) => pen.changed(changed, &mut notes),
        (Reach::Dropped, _) => pen.dropped(&mut notes),
        (Reach::Forged, _) => pen.forged(&mut notes),
        (Reach::Nowhere, _) => canvas.centred(&pen.label, pen.paint),
    };
    (body, notes)
}

impl Pen {
    /// Draws `──── label ────►`.
    fn plain(&self) -> Vec<Piece> {
        let dashes = self.columns.saturating_sub(count(&self.label) + AROUND_LABEL);
        let before = dashes / 2;
        vec![self.shaft(before), self.words(), self.shaft(dashes - before), self.head(self.paint)]
    }

    /// Draws `─ label ──◆──────►`.
    fn touched(&self) -> Vec<Piece> {
        let before = self.middle().min(self.columns.saturating_sub(3));
        let rest = self.columns.saturating_sub(before + 2);
        let mut body = self.labelled(before);
        body.extend([self.modification(), self.shaft(rest), self.head(self.paint)]);
        body
    }

    /// Draws `─ label ──◆─ second label ─►`. Without room for the second label it becomes a note.
    fn changed(&self, changed: &Changed, notes: &mut Vec<String>) -> Vec<Piece> {
        let second = count(&changed.label);
        let most = self.columns.saturating_sub(1 + second + AROUND_SECOND);
        if count(&self.label) + AROUND_LABEL + 1 > most {
            notes.insert(0, format!("arrives as {}", changed.label));
            return self.touched();
        }
        let before = self.middle().min(most);
        let dashes = self.columns.saturating_sub(before + 2 + second + 2);
        let paint = Paint::of(changed.tone);
        let shaft = |length: usize| (paint, self.shaft(length).1);
        let mut body = self.labelled(before);
        body.extend([
            self.modification(),
            shaft(dashes / 2),
            (paint, format!(" {} ", changed.label)),
            shaft(dashes - dashes / 2),
            self.head(paint),
        ]);
        body
    }

    /// Draws `─ label ──✗ note`.
    fn dropped(&self, notes: &mut Vec<String>) -> Vec<Piece> {
        let before = self.middle();
        let mut body = self.labelled(before);
        body.push((Paint::Red, self.glyphs.cut.to_string()));
        body.extend(beside(notes, self.columns.saturating_sub(before + 1)));
        body
    }

    /// Draws `     note ◆─ label ──►`.
    fn forged(&self, notes: &mut Vec<String>) -> Vec<Piece> {
        let after = self.middle();
        let mut body = beside(notes, self.columns.saturating_sub(after + 1));
        body.reverse();
        let rest = after.saturating_sub(count(&self.label) + AROUND_LABEL + 1);
        body.extend([
            self.modification(),
            self.shaft(1),
            self.words(),
            self.shaft(rest),
            self.head(self.paint),
        ]);
        body
    }

    /// Returns half of the columns, or more if the label needs them.
    fn middle(&self) -> usize {
        let needed = count(&self.label) + AROUND_LABEL + 1;
        (self.columns / 2).max(needed).min(self.columns.saturating_sub(1))
    }

    /// Draws `─ label ───`, this many columns long.
    fn labelled(&self, columns: usize) -> Vec<Piece> {
        let rest = columns.saturating_sub(count(&self.label) + AROUND_LABEL);
        vec![self.shaft(1), self.words(), self.shaft(rest)]
    }

    fn words(&self) -> Piece {
        (self.paint, format!(" {} ", self.label))
    }

    fn shaft(&self, length: usize) -> Piece {
        (self.paint, self.glyphs.dash.to_string().repeat(length))
    }

    fn head(&self, paint: Paint) -> Piece {
        (paint, self.head.to_string())
    }

    fn modification(&self) -> Piece {
        (Paint::Yellow, self.glyphs.modification.to_string())
    }
}

/// Returns the only note if it fits beside half of an arrow, else spaces.
fn beside(notes: &mut Vec<String>, room: usize) -> Vec<Piece> {
    let note = match notes.as_slice() {
        [note] if count(note) + 2 <= room => notes.remove(0),
        _ => return vec![(Paint::Plain, " ".repeat(room))],
    };
    let space = " ".repeat(room - count(&note) - 1);
    vec![(Paint::Plain, " ".to_owned()), (Paint::Yellow, note), (Paint::Plain, space)]
}
