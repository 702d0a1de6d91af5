//! A thread that prints: whoever serves never waits for standard output.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::program::queue::Queue;
use tfo_core::program::value::Format;

use super::lines::{Ended, Lines, Totals};
use super::trace::Tracer;

/// How many lines may wait for standard output.
const WAITING: usize = 16 * 1024;
/// How often the packets of connections are drawn.
const TICK: Duration = Duration::from_secs(1);

/// How long the end waits for standard output to take what is left.
const LAST: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Hands lines to the thread that prints.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    queue: Queue<Item>,
    /// Lines that could not be written.
    failed: Arc<AtomicU64>,
    /// The queue was full, and has not been empty since.
    slow: Arc<AtomicBool>,
    /// A text is being made, which is no fault of standard output.
    making: Arc<AtomicBool>,
}

/// What is printed.
enum Item {
    Connection(Box<Ended>),
    /// What was counted so far.
    Totals(Box<Totals>),
    /// Text that takes a while to make: the printing thread makes it.
    Text(Box<dyn FnOnce() -> String + Send>),
    /// What was counted in all.
    Last(Box<Totals>),
}

impl Printer {
    pub(crate) fn start(format: Format, tracer: Option<Tracer>) -> io::Result<Self> {
        let (failed, slow, making) = (Arc::default(), Arc::default(), Arc::default());
        let printer = Self { queue: Queue::new(WAITING), failed, slow, making };
        let lines = Lines::new(format, tracer, Arc::clone(&printer.failed));
        let printing = printer.clone();
        let thread = thread::Builder::new().name("printer".to_owned());
        thread.spawn(move || printing.print_all(lines))?;
        Ok(printer)
    }

    /// Prints the line of a connection, unless too many wait.
    pub(crate) fn connection(&self, ended: Box<Ended>) {
        self.item(Item::Connection(ended));
    }

    /// Prints what was counted so far.
    pub(crate) fn totals(&self, totals: Totals) {
        self.item(Item::Totals(Box::new(totals)));
    }

    /// Prints a text, which is made outside the calling thread.
    pub(crate) fn text(&self, make: impl FnOnce() -> String + Send + 'static) {
        self.item(Item::Text(Box::new(make)));
    }

    /// How many lines were lost.
    pub(crate) fn lines_lost(&self) -> u64 {
        self.queue.lost() + self.failed.load(Ordering::Relaxed)
    }

    /// Prints what waits, then the totals; gives up if nobody takes them.
    pub(crate) fn finish(self, totals: Totals) {
        self.queue.put_last(Item::Last(Box::new(totals)));
        let mut left = LAST;
        while !self.queue.drain(LOOK, LOOK) {
            if self.making.load(Ordering::Relaxed) {
                continue;
            }
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                return log::warn!(
                    "standard output took nothing for {LAST:?}: what was left to print is lost"
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

    fn item(&self, item: Item) {
        if !self.queue.put(item) && !self.slow.swap(true, Ordering::Relaxed) {
            log::warn!(
                "lines are lost: standard output is slower than connections end. Serving goes on; \
                 output.lines = false prints the totals alone"
            );
        }
    }

    fn print_all(&self, mut lines: Lines) {
        let mut next = Instant::now() + TICK;
        let mut reported = 0;
        loop {
            match self.queue.take_until(Some(next)) {
                Some(Item::Connection(ended)) => lines.connection(&ended),
                Some(Item::Totals(totals)) => lines.totals(&totals, self.lines_lost()),
                Some(Item::Text(make)) => lines.print(self.make(make).trim_end()),
                Some(Item::Last(totals)) => {
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
                next = Instant::now() + TICK;
                lines.draw(false);
            }
        }
    }
}
