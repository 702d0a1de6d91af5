//! A terminal that is drawn again and again, or a file that is written once.

use std::io::{self, IsTerminal};

use tfo_core::program::output::{Output, Reader};
use tfo_core::program::value::Format;

/// The cursor to the upper left; everything behind it is cleared.
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";

pub(crate) struct Screen {
    output: Output,
    refreshes: bool,
}

impl Screen {
    pub(crate) fn new(format: Format) -> Self {
        let refreshes = format == Format::Text && io::stdout().is_terminal();
        Self { output: Output::stdout(), refreshes }
    }

    /// Somebody watches.
    pub(crate) const fn refreshes(&self) -> bool {
        self.refreshes
    }

    /// Shows this in place of what was there.
    pub(crate) fn show(&mut self, text: &str) -> io::Result<Reader> {
        let clear = if self.refreshes { HOME_AND_CLEAR } else { "" };
        let text = text.trim_end();
        let shown = self.output.print_line(format_args!("{clear}{text}"));
        shown.map_err(|e| io::Error::new(e.kind(), format!("can't print: {e}")))
    }
}
