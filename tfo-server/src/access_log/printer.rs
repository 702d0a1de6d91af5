//! A thread that prints: whoever serves never waits for standard output.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::program::queue::Queue;
use tfo_core::program::value::Format;

use super::lines::{ConnectionEntry, LineWriter, Totals};
use super::trace::Tracer;

/// How many lines may wait for standard output.
const MAX_QUEUED: usize = 16 * 1024;
/// How often the packets of connections are drawn.
const DRAW_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end waits for standard output to take what is left.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// Hands lines to the thread that prints.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    queue: Queue<LogItem>,
    /// Lines that could not be written.
    failed: Arc<AtomicU64>,
    /// The queue was full, and has not been empty since.
    slow: Arc<AtomicBool>,
    /// A text is being made, which is no fault of standard output.
    making: Arc<AtomicBool>,
}

/// What is printed.
enum LogItem {
    Connection(Box<ConnectionEntry>),
    /// What was counted so far.
    Totals(Box<Totals>),
    /// Text that takes a while to make: the printing thread makes it.
    Text(Box<dyn FnOnce() -> String + Send>),
    /// What was counted in all.
    Last(Box<Totals>),
}

impl AccessLog {
    pub(crate) fn start(format: Format, tracer: Option<Tracer>) -> io::Result<Self> {
        let (failed, slow, making) = (Arc::default(), Arc::default(), Arc::default());
        let printer = Self { queue: Queue::new(MAX_QUEUED), failed, slow, making };
        let lines = LineWriter::new(format, tracer, Arc::clone(&printer.failed));
        let printing = printer.clone();
        let thread = thread::Builder::new().name("printer".to_owned());
        thread.spawn(move || printing.print_all(lines))?;
        Ok(printer)
    }

    /// Prints the line of a connection, unless too many wait.
    pub(crate) fn connection(&self, ended: Box<ConnectionEntry>) {
        self.item(LogItem::Connection(ended));
    }

    /// Prints what was counted so far.
    pub(crate) fn totals(&self, totals: Totals) {
        self.item(LogItem::Totals(Box::new(totals)));
    }

    /// Prints a text, which is made outside the calling thread.
    pub(crate) fn text(&self, make: impl FnOnce() -> String + Send + 'static) {
        self.item(LogItem::Text(Box::new(make)));
    }

    /// How many lines were lost.
    pub(crate) fn lines_lost(&self) -> u64 {
        self.queue.lost() + self.failed.load(Ordering::Relaxed)
    }

    /// Prints what waits, then the totals; gives up if nobody takes them.
    pub(crate) fn finish(self, totals: Totals) {
        self.queue.put_last(LogItem::Last(Box::new(totals)));
        let mut left = DRAIN_TIMEOUT;
        while !self.queue.drain(DRAIN_STEP, DRAIN_STEP) {
            if self.making.load(Ordering::Relaxed) {
                continue;
            }
            left = left.saturating_sub(DRAIN_STEP);
            if left.is_zero() {
                return log::warn!(
                    "standard output took nothing for {DRAIN_TIMEOUT:?}: what was left to print is lost"
                );
            }
        }
    }

    fn make(&self, make: impl FnOnce() -> String) -> String {
        // Should it panic, the end does not wait for it.
        struct Made<'a>(&'a AtomicBool);
        impl Drop for Made<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        self.making.store(true, Ordering::Relaxed);
        let _made = Made(&self.making);
        make()
    }

    fn item(&self, item: LogItem) {
        if !self.queue.put(item) && !self.slow.swap(true, Ordering::Relaxed) {
            log::warn!(
                "lines are lost: standard output is slower than connections end. Serving goes on; \
                 output.lines = false prints the totals alone"
            );
        }
    }

    fn print_all(&self, mut lines: LineWriter) {
        let mut next = Instant::now() + DRAW_INTERVAL;
        let mut reported = 0;
        loop {
            match self.queue.take_until(Some(next)) {
                Some(LogItem::Connection(ended)) => lines.connection(&ended),
                Some(LogItem::Totals(totals)) => lines.totals(&totals, self.lines_lost()),
                Some(LogItem::Text(make)) => lines.print(self.make(make).trim_end()),
                Some(LogItem::Last(totals)) => {
                    lines.draw(true);
                    lines.last_totals(&totals, self.lines_lost());
                }
                None => {}
            }
            let lost = self.queue.lost();
            if lost > reported && self.queue.is_empty() {
                log::warn!("standard output keeps up again; {} lines are lost", lost - reported);
                reported = lost;
                self.slow.store(false, Ordering::Relaxed);
            }
            if next <= Instant::now() {
                next = Instant::now() + DRAW_INTERVAL;
                lines.draw(false);
            }
        }
    }
}
