//! A ladder: two hosts as two lines, the packets between them as arrows, time running downward.

mod rung;
mod scale;
mod svg;
mod text;
mod words;

use super::PacketPath;
use rung::{Item, Rung};
pub use text::TextStyle;

/// As many packets as one takes in at a glance; more are left out in the middle.
const DEFAULT_LIMIT: usize = 40;

/// A picture of the packets between two hosts.
///
/// The client stands on the left with its clock, the server on the right with its own. Packets are
/// in the order in which they were sent. Where the path changed one, dropped it or made it up, the
/// picture says so.
///
/// ```
/// use tfo_core::capture::{PacketPath, Ladder, TextStyle};
///
/// let packets: Vec<PacketPath> = Vec::new();
/// let ladder = Ladder::new("client", "server").title("No packets").packets(&packets);
/// assert!(ladder.to_text(TextStyle::default()).starts_with("No packets\n"));
/// assert!(ladder.to_svg().starts_with("<svg"));
/// ```
#[derive(Debug, Clone)]
pub struct Ladder {
    client: String,
    server: String,
    title: Option<String>,
    limit: usize,
    rungs: Vec<Rung>,
}

impl Ladder {
    /// A ladder between two hosts of these names, without packets.
    #[must_use]
    pub fn new(client: impl Into<String>, server: impl Into<String>) -> Self {
        Self {
            client: client.into(),
            server: server.into(),
            title: None,
            limit: DEFAULT_LIMIT,
            rungs: Vec::new(),
        }
    }

    /// What stands above it.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        Self { title: Some(title.into()), ..self }
    }

    /// The packets, in any order, instead of those that were there before. The first one's time is
    /// the picture's zero.
    #[must_use]
    pub fn packets(self, packets: &[PacketPath]) -> Self {
        Self { rungs: rung::rungs(packets), ..self }
    }

    /// How many packets to draw at most (2 or more): the first ones and some of the last; a line
    /// between them counts the rest. 40 if not set.
    #[must_use]
    pub fn limit(self, packets: usize) -> Self {
        Self { limit: packets.max(2), ..self }
    }

    /// The picture as text, each line ended by a line feed.
    #[must_use]
    pub fn to_text(&self, style: TextStyle) -> String {
        text::draw(self, style)
    }

    /// The picture as a standalone SVG document, for light and dark surroundings.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }

    /// Several pictures side by side, as one standalone SVG document: what it was, and what it
    /// became.
    #[must_use]
    pub fn to_svg_row(ladders: &[Self]) -> String {
        svg::draw_row(ladders)
    }

    /// What to draw, from top to bottom.
    fn items(&self) -> Vec<Item<'_>> {
        rung::items(&self.rungs, self.limit)
    }
}
