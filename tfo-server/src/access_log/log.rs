//! The thread that prints the access log.
//!
//! 1. Workers never wait for standard output: entries are queued, and dropped if the queue is full.
//! 2. Lost lines are counted. The start and the end of a loss are logged.
//! 3. At the end the server waits for standard output at most [`DRAIN_TIMEOUT`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tfo_core::cli::output::counted;

use tfo_core::cli::output::Output;
use tfo_core::cli::queue::Queue;
use tfo_core::cli::value::Format;

use super::entry::ConnectionEntry;
use super::totals::TotalsEntry;
use super::trace::Tracer;

/// Maximum number of queued lines.
const MAX_QUEUED: usize = 16 * 1024;
/// How often the packets of ended connections are drawn.
const DRAW_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait at the end for standard output to accept the remaining lines.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often progress is checked during this wait.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// Sends entries to the printing thread.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    queue: Queue<LogItem>,
    /// Number of lines that could not be written.
    failed: Arc<AtomicU64>,
    /// The queue was full and has not been empty since.
    slow: Arc<AtomicBool>,
    /// A text is being generated: a delay is not caused by standard output.
    generating: Arc<AtomicBool>,
}

/// An entry to print.
enum LogItem {
    Connection(Box<ConnectionEntry>),
    /// The totals so far.
    Totals(Box<TotalsEntry>),
    /// Text that takes long to generate: the printing thread generates it.
    Text(Box<dyn FnOnce() -> String + Send>),
    /// The final totals.
    Last(Box<TotalsEntry>),
}

impl AccessLog {
    pub(crate) fn start(format: Format, tracer: Option<Tracer>) -> io::Result<Self> {
        let (failed, slow, generating) = (Arc::default(), Arc::default(), Arc::default());
        let printer = Self { queue: Queue::new(MAX_QUEUED), failed, slow, generating };
        let lines = LineWriter::new(format, tracer, Arc::clone(&printer.failed));
        let printing = printer.clone();
        let thread = thread::Builder::new().name("printer".to_owned());
        thread.spawn(move || printing.print_all(lines))?;
        Ok(printer)
    }

    /// Prints the line of a connection, unless the queue is full.
    pub(crate) fn connection(&self, ended: Box<ConnectionEntry>) {
        self.item(LogItem::Connection(ended));
    }

    /// Prints the totals so far.
    pub(crate) fn totals(&self, totals: TotalsEntry) {
        self.item(LogItem::Totals(Box::new(totals)));
    }

    /// Prints a text, which the printing thread generates.
    pub(crate) fn text(&self, make: impl FnOnce() -> String + Send + 'static) {
        self.item(LogItem::Text(Box::new(make)));
    }

    /// Returns the number of lost lines.
    pub(crate) fn lines_lost(&self) -> u64 {
        self.queue.lost() + self.failed.load(Ordering::Relaxed)
    }

    /// Prints the queued entries and the totals. Gives up if standard output does not accept them.
    pub(crate) fn finish(self, totals: TotalsEntry) {
        self.queue.put_last(LogItem::Last(Box::new(totals)));
        let mut left = DRAIN_TIMEOUT;
        while !self.queue.drain(DRAIN_STEP, DRAIN_STEP) {
            if self.generating.load(Ordering::Relaxed) {
                continue;
            }
            left = left.saturating_sub(DRAIN_STEP);
            if left.is_zero() {
                return log::warn!(
                    "standard output accepted nothing for {DRAIN_TIMEOUT:?}: the remaining lines are lost"
                );
            }
        }
    }

    fn make(&self, make: impl FnOnce() -> String) -> String {
        // Resets the flag even if the generation panics.
        struct Made<'a>(&'a AtomicBool);
        impl Drop for Made<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        self.generating.store(true, Ordering::Relaxed);
        let _made = Made(&self.generating);
        make()
    }

    fn item(&self, item: LogItem) {
        if !self.queue.put(item) && !self.slow.swap(true, Ordering::Relaxed) {
            log::warn!(
                "losing lines: standard output is slower than connections end. Still serving; \
                 output.lines = false prints only the totals"
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
                log::warn!(
                    "standard output keeps up again; {} lost",
                    counted_lines(lost - reported)
                );
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
    /// Consecutive lines that could not be written.
    unprinted: u64,
    /// All lines that could not be written.
    failed: Arc<AtomicU64>,
}

impl LineWriter {
    fn new(format: Format, tracer: Option<Tracer>, failed: Arc<AtomicU64>) -> Self {
        let (output, started) = (Output::stdout(), Instant::now());
        Self { output, format, started, tracer, unprinted: 0, failed }
    }

    /// Draws the packets of connections that ended a moment ago; with `all`, of all connections.
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

    /// Prints the final totals.
    fn last_totals(&mut self, totals: &TotalsEntry, lines_lost: u64) {
        self.totals(totals, lines_lost);
        if self.unprinted > 0 {
            log::warn!(
                "standard output failed until the end; {} lost",
                counted_lines(self.unprinted)
            );
        }
    }

    /// Prints a line. If this fails (the reader is gone, or the disk is full), logs the failure once; the server
    /// continues.
    fn print(&mut self, line: &str) {
        match self.output.print_line(line) {
            Ok(_) if self.unprinted == 0 => {}
            Ok(_) => {
                log::warn!("standard output works again; {} lost", counted_lines(self.unprinted));
                self.unprinted = 0;
            }
            Err(e) => {
                if self.unprinted == 0 {
                    log::warn!(
                        "can't print: {e}. Still serving; lines are lost until standard output works again"
                    );
                }
                self.unprinted += 1;
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn counted_lines(lost: u64) -> String {
    counted(lost, "line was", "lines were")
}
