//! The end of a measurement by Ctrl-C: the first signal asks for the results so far, a second one ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Signals that come within as long are one: `timeout(1)` sends its own to the process and to its group.
const ONE_SIGNAL: Duration = Duration::from_millis(200);

/// Returns the flag that the first SIGINT or SIGTERM sets.
///
/// It starts a thread: a private network namespace must be entered before.
pub(super) fn flag() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let flag = Arc::clone(&interrupted);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            let since = first.get_or_insert_with(Instant::now).elapsed();
            if flag.swap(true, Ordering::Relaxed) && since >= ONE_SIGNAL {
                process::exit(128 + signal);
            }
        }
    })?;
    Ok(interrupted)
}
