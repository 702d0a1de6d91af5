//! Runs the command and its threads.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use tfo_core::cli::{error_chain, value::Format};

use super::arguments::LoadFlags;
use super::document;
use super::plan::Plan;
use super::report::LoadReport;
use super::results::Results;
use super::schedule;
use super::settings::LoadSettings;
use super::tally::Tally;
use super::worker::{PROGRESS_INTERVAL, Shared, Worker};
use crate::config::Settings;
use crate::output::{self, Failure};
use crate::{interruption, target};

pub(crate) fn run(settings: &Settings, flags: &LoadFlags) -> Result<ExitCode, Failure> {
    let load = flags.settings();
    let address = target::resolve(&settings.target, settings.probe.family);
    if let (Err(failure), Format::Json) = (&address, settings.output.format) {
        output::print(document::unresolved(&settings.target.host, failure))?;
    }
    let address = address?;
    let plan = Plan::new(settings, &load, address)?;
    let report = LoadReport::new(settings.output.format);
    let total = measure(&load, &plan, &report)
        .map_err(|e| Failure::Unusable(format!("can't generate load: {}", error_chain(&e))))?;
    let results = Results::new(&settings.target.host, &load, &plan, &total);
    report.finish(&results)?;
    Ok(results.exit_code())
}

/// Runs the threads until all of them have ended, or the user interrupts them.
fn measure(load: &LoadSettings, plan: &Plan, report: &LoadReport) -> io::Result<Tally> {
    let stop = interruption::flag()?;
    let total = Mutex::new(Tally::new(plan.sources.len())?);
    let shared = Shared { stop, total, live: report.is_live() };
    let begin = Instant::now();
    let mut workers = Vec::new();
    for number in 0..load.threads {
        workers.push(Worker::new(plan, &shared, schedule::for_thread(load, number), begin)?);
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
                // Fails if another thread has failed, since the receiver is gone then.
                let _ = done.send(());
                result
            })?);
        }
        drop(done);
        let mut left = threads.len();
        while left > 0 {
            match ended.recv_timeout(PROGRESS_INTERVAL) {
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
