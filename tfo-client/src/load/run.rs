//! The threads of a run, and what they share.

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::report::{self, LoadReport};
use super::schedule;
use super::tally::Tally;
use super::worker::Worker;
use crate::config::Settings;
use crate::config::file::Mode;
use crate::{interruption, output, target};

/// What the flags of `load` say.
#[derive(Debug, Clone)]
pub(crate) struct LoadSettings {
    pub(crate) pace: Pace,
    /// Connections that are open at once, over all threads.
    pub(crate) concurrency: usize,
    pub(crate) threads: u32,
    pub(crate) end: End,
    pub(crate) mix: Mix,
    pub(crate) message: LoadMessage,
    pub(crate) expect: Expect,
    /// Local addresses to connect from, in turn; none leaves it to the kernel.
    pub(crate) sources: Vec<IpAddr>,
    /// Close with a RST.
    pub(crate) reset: bool,
    /// From a connection's start to its end.
    pub(crate) timeout: Duration,
    /// Fewer replies a second break the limit.
    pub(crate) fail_under: Option<u32>,
    /// A 99th percentile above breaks the limit.
    pub(crate) max_p99: Option<Duration>,
}

/// When connections are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As soon as another one has ended.
    Fast,
    /// So many a second, whatever becomes of them.
    Rate(u32),
}

/// When no more are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    After(Duration),
    Count(u64),
}

/// How the first bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mix {
    All(Mode),
    /// Every second connection is a regular one.
    InTurn,
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoadMessage {
    Text(String),
    /// A mirror's request of that many bytes.
    Generated(usize),
    /// A GET for this path.
    Http(String),
}

/// The reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// None is waited for.
    Nothing,
    /// It begins with this, is at least one byte, and ends with the server's close.
    Beginning(String),
    /// It has that many bytes; then this end closes.
    Bytes(u64),
    /// A response with this status, or one from 200 to 399.
    Http(Option<u32>),
}

/// What the threads of a run share: a request to stop, and the sum of what they counted.
pub(super) struct Shared {
    stop: Arc<AtomicBool>,
    total: Mutex<Tally>,
    /// Somebody watches the sum grow.
    pub(super) live: bool,
}

impl Shared {
    pub(super) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Adds what a thread counted since the last time.
    pub(super) fn add(&self, tally: &mut Tally) {
        self.total.lock().unwrap_or_else(PoisonError::into_inner).take(tally);
    }
}

/// Between two looks at the sum.
pub(super) const GLANCE: Duration = Duration::from_millis(250);

pub(crate) fn run(settings: &Settings, load: &LoadSettings) -> ExitCode {
    let address = match target::resolve(&settings.target, settings.family) {
        Ok(address) => address,
        Err(e) => return output::cannot_resolve(&settings.target, &e, report::NO_REPLY),
    };
    let plan = match Plan::new(settings, load, address) {
        Ok(plan) => plan,
        Err(e) => return report::load_refused(&e),
    };
    let report = LoadReport::new(settings, load, address);
    match measure(load, &plan, &report) {
        Ok(total) => report.finish(&plan, &total),
        Err(e) => report::load_refused(&e),
    }
}

/// Runs the threads until they have ended, or the user ends them.
fn measure(load: &LoadSettings, plan: &Plan, report: &LoadReport) -> io::Result<Tally> {
    let stop = interruption::flag()?;
    let total = Mutex::new(Tally::new(plan.sources.len())?);
    let shared = Shared { stop, total, live: report.is_live() };
    let begin = Instant::now();
    let mut workers = Vec::new();
    for number in 0..load.threads {
        workers.push(Worker::new(plan, &shared, schedule::of_thread(load, number), begin)?);
    }
    let (done, ended) = mpsc::channel();
    thread::scope(|scope| -> io::Result<()> {
        let mut threads = Vec::new();
        for worker in workers {
            let (done, stop) = (done.clone(), &shared.stop);
            let name = thread::Builder::new().name("load".to_owned());
            threads.push(name.spawn_scoped(scope, move || {
                let result = worker.run();
                if result.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                // Nobody listens any more when another thread has failed.
                let _ = done.send(());
                result
            })?);
        }
        drop(done);
        let mut left = threads.len();
        while left > 0 {
            match ended.recv_timeout(GLANCE) {
                Ok(()) => left -= 1,
                Err(RecvTimeoutError::Timeout) if shared.live => {
                    let total = shared.total.lock().unwrap_or_else(PoisonError::into_inner);
                    report.progress(&total, begin.elapsed());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for thread in threads {
            thread.join().map_err(|_| io::Error::other("a thread of the load panicked"))??;
        }
        Ok(())
    })?;
    let mut total = shared.total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.interrupted = shared.stop.load(Ordering::Relaxed);
    Ok(total)
}
