//! The thread that prints.
//!
//! 1. No worker waits for standard output: entries are queued, and dropped when the queue is full.
//! 2. Lines that are lost are counted, and the first and the last of them are logged.
//! 3. The end of the server waits for standard output no longer than [`DRAIN_TIMEOUT`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::cli::output::Output;
use tfo_core::cli::queue::Queue;
use tfo_core::cli::value::Format;

use super::entry::ConnectionEntry;
use super::totals::TotalsEntry;
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
    Totals(Box<TotalsEntry>),
    /// Text that takes a while to make: the printing thread makes it.
    Text(Box<dyn FnOnce() -> String + Send>),
    /// What was counted in all.
    Last(Box<TotalsEntry>),
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
    pub(crate) fn totals(&self, totals: TotalsEntry) {
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
    pub(crate) fn finish(self, totals: TotalsEntry) {
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

/// Writes the lines to standard output.
struct LineWriter {
    output: Output,
    format: Format,
    started: Instant,
    tracer: Option<Tracer>,
    /// Lines in a row that could not be written.
    unprinted: u64,
    /// All lines that could not be written.
    failed: Arc<AtomicU64>,
}

impl LineWriter {
    fn new(format: Format, tracer: Option<Tracer>, failed: Arc<AtomicU64>) -> Self {
        let (output, started) = (Output::stdout(), Instant::now());
        Self { output, format, started, tracer, unprinted: 0, failed }
    }

    /// Draws the packets of connections that ended a moment ago; with `all`, of each.
    fn draw(&mut self, all: bool) {
        if let Some(tracer) = self.tracer.as_ref().filter(|_| all) {
            thread::sleep(tracer.grace());
        }
        let ladders = self.tracer.as_mut().map(|tracer| tracer.ladders(all));
        for ladder in ladders.into_iter().flatten() {
            self.print(&ladder);
        }
    }

    fn connection(&mut self, entry: &ConnectionEntry) {
        self.print(&entry.line(self.format));
        if let Some((tracer, arrival)) = self.tracer.as_mut().zip(entry.arrival.as_ref()) {
            let evidence = &arrival.evidence;
            tracer.ended(evidence.source, evidence.destination);
        }
    }

    fn totals(&mut self, totals: &TotalsEntry, lines_lost: u64) {
        self.print(&totals.line(self.format, self.started.elapsed(), lines_lost));
    }

    /// Prints the totals at the end.
    fn last_totals(&mut self, totals: &TotalsEntry, lines_lost: u64) {
        self.totals(totals, lines_lost);
        if self.unprinted > 0 {
            log::warn!("standard output failed to the end; {} lines are lost", self.unprinted);
        }
    }

    /// A server whose reader is gone, or whose disk is full, serves on, and says so once.
    fn print(&mut self, line: &str) {
        match self.output.print_line(line) {
            Ok(_) if self.unprinted == 0 => {}
            Ok(_) => {
                log::warn!("standard output works again; {} lines are lost", self.unprinted);
                self.unprinted = 0;
            }
            Err(e) => {
                if self.unprinted == 0 {
                    log::warn!(
                        "can't print: {e}. Serving goes on; lines are lost until it works again"
                    );
                }
                self.unprinted += 1;
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
