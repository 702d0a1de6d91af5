//! Handles Ctrl-C during a measurement: the first signal requests the results so far, the second one ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{io, process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Signals within this time count as one: `timeout(1)` signals both the process and its group.
const ONE_SIGNAL: Duration = Duration::from_millis(200);

/// How often what waits looks at the flag.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Returns the flag that the first SIGINT or SIGTERM sets.
///
/// Starts a thread, so a private network namespace must be entered before.
///
/// # Errors
/// The signals cannot be handled; they end the program at once, as by default.
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

/// As [`flag`]. If it fails, logs that Ctrl-C will end the program at once.
pub(super) fn flag_or_none() -> Arc<AtomicBool> {
    flag().unwrap_or_else(|e| {
        log::warn!("Ctrl-C will end the program at once: {e}");
        Arc::default()
    })
}

/// Waits for what another thread sends, until the flag is set. `None`: it was set first.
pub(super) fn receive<T>(from: &Receiver<T>, interrupted: &AtomicBool) -> Option<T> {
    while !interrupted.load(Ordering::Relaxed) {
        match from.recv_timeout(LOOK_EVERY) {
            Ok(received) => return Some(received),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}

/// Sleeps, unless the flag is set.
pub(super) fn sleep(time: Duration, interrupted: &AtomicBool) {
    let end = Instant::now() + time;
    while !interrupted.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(LOOK_EVERY));
    }
}
