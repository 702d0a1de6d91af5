//! A ladder: two hosts as two vertical lines, the packets between them as arrows, time running downward.

mod rung;
mod scale;
mod svg;
mod text;
mod words;

use super::PacketPath;
use rung::{Item, Rung};
pub use text::TextStyle;

/// The number of packets that are drawn if not set otherwise; more are left out in the middle.
const DEFAULT_LIMIT: usize = 40;

/// A picture of the packets between two hosts.
///
/// The client is on the left with its clock, the server on the right with its own. The rows of text are in the order of
/// the client's clock. The picture marks packets that the path changed, dropped or created.
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
    /// Creates a ladder between two hosts with these names, without packets.
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

    /// Sets the title.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        Self { title: Some(title.into()), ..self }
    }

    /// Sets the packets, in any order. The time of the first one is the picture's zero.
    #[must_use]
    pub fn packets(self, packets: &[PacketPath]) -> Self {
        Self { rungs: rung::rungs(packets), ..self }
    }

    /// Sets how many packets to draw at most (2 or more, 40 by default): the first ones and some of the last; a
    /// line between them counts the rest.
    #[must_use]
    pub fn limit(self, packets: usize) -> Self {
        Self { limit: packets.max(2), ..self }
    }

    /// Returns the picture as text. Each line ends with a line feed.
    #[must_use]
    pub fn to_text(&self, style: TextStyle) -> String {
        text::draw(self, style)
    }

    /// Returns the picture as a standalone SVG document, for light and dark pages.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }

    /// Returns a picture of two connections on one time scale, as a standalone SVG document 838 wide, such as a regular
    /// connection and one with fast open.
    ///
    /// The picture ends with the first byte of each answer, marks the time between them, and leaves out acknowledgments
    /// without data.
    #[must_use]
    pub fn to_svg_beside(&self, other: &Self) -> String {
        svg::draw_pair(self, other)
    }

    /// Returns the items to draw, from top to bottom.
    fn items(&self) -> Vec<Item<'_>> {
        rung::items(&self.rungs, self.limit)
    }
}
