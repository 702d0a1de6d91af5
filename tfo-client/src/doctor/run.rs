//! Runs the command: takes one snapshot, or with `--watch` one in each interval.

use std::process::ExitCode;
use std::time::Instant;

use tfo_core::cli::value::Format;
use tfo_core::host::RuntimeEnvironment;

use super::arguments::DoctorFlags;
use super::report::DoctorReport;
use super::snapshot::Snapshot;
use crate::config::Settings;
use crate::output::Failure;

pub(crate) fn run(settings: &Settings, flags: &DoctorFlags) -> Result<ExitCode, Failure> {
    if flags.metrics().is_some() && settings.output.format == Format::Json {
        return Err(Failure::Unusable("--metrics has its own format: omit -o json".to_owned()));
    }
    let mut report = DoctorReport::new(settings.output.format, flags);
    let environment = RuntimeEnvironment::detect();
    let mut before = None;
    let mut frame = 1;
    let ready = loop {
        let snapshot = Snapshot::take(environment.clone(), before.take());
        before = snapshot.facts.counters.map(|counters| (counters, Instant::now()));
        let ready = snapshot.facts.is_ready(flags.half());
        let can_print = report.show(&snapshot)?;
        match flags.watch() {
            Some(interval)
                if can_print
                    && flags.frames().is_none_or(|frames| frame < frames)
                    && report.wait(interval) => {}
            _ => break ready,
        }
        frame += 1;
    };
    Ok(if ready || flags.metrics().is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
