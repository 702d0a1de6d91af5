//! A thread that prints: whoever serves never waits for standard output.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::program::value::Format;

use super::connection::{Ended, Lines, Totals};
use super::trace::Tracer;

/// How many lines may wait for standard output.
const WAITING: usize = 16 * 1024;
/// How often the packets of connections are drawn.
const TICK: Duration = Duration::from_secs(1);

/// How long the end waits for standard output to take what is left.
const LAST: Duration = Duration::from_secs(5);

/// Hands lines to the thread that prints.
#[derive(Clone)]
pub(crate) struct Printer {
    lines: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

/// What is printed.
enum Item {
    Connection(Box<Ended>),
    /// What was counted so far.
    Totals(Box<Totals>),
    Text(String),
}

/// The thread that prints. It ends when no [`Printer`] is left.
pub(crate) struct Printing {
    /// Where the last totals go.
    totals: SyncSender<Totals>,
    /// Hangs up when all is printed.
    end: Receiver<()>,
    lost: Arc<AtomicU64>,
}

impl Printer {
    pub(crate) fn start(format: Format, tracer: Option<Tracer>) -> io::Result<(Self, Printing)> {
        let (lines, waiting) = sync_channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let (totals, at_last) = sync_channel(1);
        let (printed, end) = sync_channel::<()>(0);
        thread::Builder::new().name("printer".to_owned()).spawn({
            let lost = Arc::clone(&lost);
            move || {
                let mut lines = print_all(Lines::new(format, tracer), &waiting, &lost);
                if let Ok(totals) = at_last.recv() {
                    lines.draw(true);
                    lines.totals(&totals, lost.load(Ordering::Relaxed));
                }
                drop(printed);
            }
        })?;
        Ok((Self { lines, lost: Arc::clone(&lost) }, Printing { totals, end, lost }))
    }

    /// Prints the line of a connection, unless too many wait.
    pub(crate) fn connection(&self, ended: Box<Ended>) {
        self.item(Item::Connection(ended));
    }

    /// Prints what was counted so far.
    pub(crate) fn totals(&self, totals: Totals) {
        self.item(Item::Totals(Box::new(totals)));
    }

    pub(crate) fn text(&self, text: String) {
        self.item(Item::Text(text));
    }

    fn item(&self, item: Item) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(item)
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            log::warn!(
                "lines are lost: standard output is slower than connections end. Serving goes on; \
                 output.lines = false prints the totals alone"
            );
        }
    }
}

impl Printing {
    /// How many lines were lost.
    pub(crate) fn lines_lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Prints what waits, then the totals; gives up if nobody takes them.
    pub(crate) fn finish(self, totals: Totals) {
        let told = self.totals.send(totals).is_ok();
        if told && self.end.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            log::warn!("standard output took nothing for {LAST:?}: what was left to print is lost");
        }
    }
}

fn print_all(mut lines: Lines, waiting: &Receiver<Item>, lost: &AtomicU64) -> Lines {
    let mut next = Instant::now() + TICK;
    loop {
        match waiting.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Item::Connection(ended)) => lines.connection(&ended),
            Ok(Item::Totals(totals)) => lines.totals(&totals, lost.load(Ordering::Relaxed)),
            Ok(Item::Text(text)) => lines.print(text.trim_end()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return lines,
        }
        if next <= Instant::now() {
            next = Instant::now() + TICK;
            lines.draw(false);
        }
    }
}
