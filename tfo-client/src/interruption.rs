//! Handles Ctrl-C during a measurement: the first signal requests the results so far, the second one ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Signals within this time count as one: `timeout(1)` signals both the process and its group.
const ONE_SIGNAL: Duration = Duration::from_millis(200);

/// Returns the flag that the first SIGINT or SIGTERM sets.
///
/// Starts a thread, so a private network namespace must be entered before.
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
