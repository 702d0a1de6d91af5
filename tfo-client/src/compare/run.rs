//! Runs the command: measures one target after another.

use crate::prose::counted;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use tfo_core::capture::PacketPath;

use super::analysis::{self, Analysis, Answer};
use super::arguments::CompareFlags;
use super::comparison::{Comparison, FailedTarget};
use super::job::{Job, Request};
use super::measure::{MeasureError, Network, Sampler};
use super::report::CompareReport;
use super::sample::{Sample, Side};
use super::settings::{CompareSettings, Files};
use super::targets;
use crate::config::file::{Family, Mode};
use crate::config::{Settings, Target};
use crate::output::{self, Failure, NO_CONNECTION, USAGE, note};
use crate::{interruption, target};

/// Exit status if fast open should be on for all targets.
const ON: u8 = 0;
/// Exit status if it should be off, makes no difference, or the result is inconclusive.
const NOT_ON: u8 = 1;
/// The number of connections of each side that are traced to choose a typical one.
const TRACED: usize = 5;
/// The number of pairs between two checks of the intervals' width.
const CHECK_EVERY: usize = 10;

/// Runs the command. `details`: print all that is known, in text.
pub(crate) fn run(
    settings: &Settings,
    flags: &CompareFlags,
    details: bool,
) -> Result<ExitCode, Failure> {
    let compare = flags.settings(settings.probe.family == Family::Ipv6)?;
    let Files { svg, html, json, csv } = &compare.files;
    output::try_files([svg, html, json, csv].into_iter().flatten())?;
    let network = match &compare.lab {
        None => Network::ThisHost,
        Some(lab) => Network::Lab(Box::new(lab.start(settings.target.port)?)),
    };
    let targets = match (&network, &compare.targets) {
        (Network::Lab(lab), _) => {
            vec![Target { host: lab.address.ip().to_string(), port: lab.address.port() }]
        }
        (Network::ThisHost, None) => vec![settings.target.clone()],
        (Network::ThisHost, Some(file)) => {
            targets::read(file, settings.target.port).map_err(Failure::Unusable)?
        }
    };
    let interrupted = interruption::flag_or_none();
    let mut report = CompareReport::new(settings, &compare, targets.len(), details);
    let mut status = ON;
    for target in targets {
        let settings = Settings { target, ..settings.clone() };
        let (found, shown) =
            match measure_target(&settings, &compare, &network, &interrupted, &mut report) {
                Ok(found) => {
                    let on = found.analysis.answer == Answer::On;
                    (if on { ON } else { NOT_ON }, report.comparison(found))
                }
                Err(failed) => {
                    let status = if failed.no_connection { NO_CONNECTION } else { USAGE };
                    (status, report.failed_target(failed))
                }
            };
        status = status.max(found);
        if !shown || interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    if let Network::Lab(lab) = &network
        && lab.network.missed() > 0
    {
        note(&format!(
            "this machine was too slow for {} lost: some times are too long",
            counted(lab.network.missed(), "packet, which was", "packets, which were")
        ));
    }
    report.finish()?;
    Ok(ExitCode::from(status))
}

/// Measures one target.
fn measure_target(
    settings: &Settings,
    compare: &CompareSettings,
    network: &Network,
    interrupted: &AtomicBool,
    report: &mut CompareReport,
) -> Result<Comparison, FailedTarget> {
    let failed = |reason: String, no_connection: bool| FailedTarget {
        target: settings.target.clone(),
        reason,
        advice: String::new(),
        no_connection,
    };
    let unmeasured = |error: MeasureError| match error {
        MeasureError::Fault(reason) => failed(reason, false),
        MeasureError::NoConnection(verdict) => {
            FailedTarget { advice: verdict.advice, ..failed(verdict.finding, true) }
        }
    };
    let address = target::resolve(&settings.target, settings.probe.family)
        .map_err(|e| failed(e.to_string(), true))?;
    if compare.lab.is_none() {
        target::check_local(&settings.probe, address).map_err(|e| failed(e.to_string(), false))?;
    }
    let job = Job::new(&compare.job, &settings.target.host, settings)
        .map_err(|reason| failed(reason, false))?;
    let sampler = Sampler::new(network, job, settings, address, interrupted);
    report.begin(&settings.target, address);
    sampler.warm_up().map_err(unmeasured)?;

    let both_regular = settings.probe.mode == Mode::Off;
    let has_request = compare.job.request != Request::Nothing;
    let metrics = analysis::metrics(compare.job.tls.is_some(), has_request);
    let lab = compare.lab.as_ref().map(|lab| lab.command("lab", "-n 5"));
    let analyse = |samples: &[Sample]| {
        let found = Analysis::new(samples, metrics, both_regular, address.ip().is_loopback());
        Analysis { lab: lab.clone(), ..found }
    };
    let measured = sampler.pairs(|samples| {
        let pairs = samples.len() / 2;
        report.progress(samples, metrics, both_regular);
        pairs >= compare.pairs || is_narrow(compare.until_ci, pairs, samples, analyse)
    });
    let measured = measured.map_err(unmeasured)?;
    let analysis = analyse(&measured);
    let interrupted = sampler.is_interrupted();
    let typical = (compare.files.html.is_some() && !interrupted)
        .then(|| typical(&sampler, &analysis))
        .flatten();
    Ok(Comparison {
        target: settings.target.clone(),
        address,
        samples: measured,
        analysis,
        interrupted,
        typical,
    })
}

fn is_narrow(
    wanted: Option<f64>,
    pairs: usize,
    samples: &[Sample],
    analyse: impl Fn(&[Sample]) -> Analysis,
) -> bool {
    // More pairs change the intervals less, and take longer to analyse: the checks become rarer.
    let due = pairs.is_multiple_of(CHECK_EVERY.max(pairs / 10 / CHECK_EVERY * CHECK_EVERY));
    wanted.is_some_and(|wanted| {
        due && pairs >= analysis::MIN_SAMPLES
            && analyse(samples).width().is_some_and(|width| width <= wanted)
    })
}

/// Makes a few more connections of each side with their packets, and returns those nearest to the medians. They are
/// not counted, because capturing packets takes time.
fn typical(sampler: &Sampler<'_>, analysis: &Analysis) -> Option<[(Sample, Vec<PacketPath>); 2]> {
    let main = analysis.main()?;
    let nearest = |side: Side, median: Option<f64>| {
        let mut best: Option<(f64, (Sample, Vec<PacketPath>))> = None;
        for _ in 0..TRACED {
            let (sample, packets) = sampler.traced(side)?;
            let time = sample.time(analysis.metric);
            // If a side has no median, such as that of fast open that never worked, any connection will do.
            let distance = match (time, median) {
                (Some(time), Some(median)) => (time - median).abs(),
                _ => f64::MAX,
            };
            if best.as_ref().is_none_or(|(least, _)| distance < *least) {
                best = Some((distance, (sample, packets)));
            }
        }
        best.map(|(_, found)| found)
    };
    let median = |summary: &analysis::Summary| summary.median.map(|found| found.value);
    Some([
        nearest(Side::Regular, median(&main.regular))?,
        nearest(Side::FastOpen, median(&main.fast))?,
    ])
}
