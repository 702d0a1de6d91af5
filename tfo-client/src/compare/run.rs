//! Compares for each target.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tfo_core::capture::Crossing;

use super::analysis::{self, Analysis, Answer};
use super::arguments::CompareFlags;
use super::job::{Job, JobSettings, Request};
use super::measure::{Meter, Place, Trouble};
use super::report::{self, CompareReport};
use super::sample::{Sample, Side};
use super::targets;
use crate::config::file::{Family, Mode};
use crate::config::{Settings, Target};
use crate::network::NetworkSettings;
use crate::{interruption, output, target};

/// Turn it on.
const ON: u8 = 0;
/// Leave it off, no difference, or no answer.
const NOT_ON: u8 = 1;
const NO_CONNECTION: u8 = 3;
/// How many pairs are made for the picture of a typical one.
const TRACED: usize = 5;
/// How often the width of the intervals is looked at.
const LOOK_EVERY: usize = 10;

/// What the flags of `compare` say.
#[derive(Debug, Clone)]
pub(crate) struct CompareSettings {
    /// The most pairs.
    pub(crate) pairs: usize,
    /// How far the intervals may reach from their values, as a share of the regular median.
    pub(crate) until_ci: Option<f64>,
    pub(crate) job: JobSettings,
    pub(crate) targets: Option<PathBuf>,
    pub(crate) lab: Option<NetworkSettings>,
    pub(crate) files: Files,
}

/// What is written, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    pub(crate) svg: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
}

/// The comparison for one target.
pub(crate) struct Comparison {
    pub(crate) target: Target,
    pub(crate) address: SocketAddr,
    pub(crate) samples: Vec<Sample>,
    pub(crate) analysis: Analysis,
    /// Somebody did not want to wait.
    pub(crate) interrupted: bool,
    /// A regular connection and one with fast open, with their packets, where they can be seen.
    pub(crate) typical: Option<[(Sample, Vec<Crossing>); 2]>,
}

/// A target that could not be measured.
pub(crate) struct Failure {
    pub(crate) target: Target,
    pub(crate) why: String,
    /// What to do next; may be empty.
    pub(crate) advice: String,
    /// Nothing is wrong but that there is no connection.
    pub(crate) no_connection: bool,
}

pub(crate) fn run(settings: &Settings, flags: &CompareFlags) -> ExitCode {
    let compare = flags.settings(settings.family == Family::Ipv6);
    let place = match &compare.lab {
        None => Place::ThisHost,
        Some(network) => match network.start(settings.target.port) {
            Ok(served) => Place::Lab(Box::new(served)),
            Err(status) => return status,
        },
    };
    let targets = match (&place, &compare.targets) {
        (Place::Lab(lab), _) => {
            Ok(vec![Target { host: lab.address.ip().to_string(), port: lab.address.port() }])
        }
        (Place::ThisHost, None) => Ok(vec![settings.target.clone()]),
        (Place::ThisHost, Some(file)) => targets::read(file, settings.target.port),
    };
    let targets = match targets {
        Ok(targets) => targets,
        Err(why) => return report::compare_failed(&why),
    };
    let interrupted = interruption::flag().unwrap_or_else(|e| {
        log::warn!("Ctrl-C will end the program at once: {e}");
        Arc::default()
    });
    let mut report = CompareReport::new(settings, &compare, targets.len());
    let mut status = ON;
    for target in targets {
        let settings = Settings { target, ..settings.clone() };
        let (found, shown) = match one(&settings, &compare, &place, &interrupted, &mut report) {
            Ok(found) => {
                let on = found.analysis.answer == Answer::On;
                (if on { ON } else { NOT_ON }, report.comparison(found))
            }
            Err(failure) => {
                let status = if failure.no_connection { NO_CONNECTION } else { output::USAGE };
                (status, report.failure(failure))
            }
        };
        status = status.max(found);
        if !shown || interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    if let Place::Lab(lab) = &place
        && lab.network.missed() > 0
    {
        output::note(&format!(
            "this machine was too slow for {} packets, which are lost: expect late times",
            lab.network.missed()
        ));
    }
    report.finish(status)
}

/// Measures one target.
fn one(
    settings: &Settings,
    compare: &CompareSettings,
    place: &Place,
    interrupted: &AtomicBool,
    report: &mut CompareReport,
) -> Result<Comparison, Failure> {
    let failure = |why: String, no_connection: bool| Failure {
        target: settings.target.clone(),
        why,
        advice: String::new(),
        no_connection,
    };
    let trouble = |trouble: Trouble| match trouble {
        Trouble::Fault(why) => failure(why, false),
        Trouble::NoConnection(verdict) => {
            Failure { advice: verdict.advice, ..failure(verdict.finding, true) }
        }
    };
    let address = target::resolve(&settings.target, settings.family)
        .map_err(|e| failure(format!("no address for {}: {e}", settings.target.host), true))?;
    let job = Job::new(&compare.job, &settings.target.host, settings)
        .map_err(|why| failure(why, false))?;
    let meter = Meter::new(place, job, settings, address, interrupted);
    report.begin(&settings.target, address);
    meter.warm_up().map_err(trouble)?;

    let both_regular = settings.mode == Mode::Off;
    let has_request = compare.job.request != Request::Nothing;
    let metrics = analysis::metrics(compare.job.tls.is_some(), has_request);
    let analyse = |samples: &[Sample]| {
        Analysis::new(samples, metrics, both_regular, address.ip().is_loopback())
    };
    let samples = meter.pairs(|samples| {
        let pairs = samples.len() / 2;
        report.progress(samples, metrics, both_regular);
        pairs >= compare.pairs || is_narrow(compare.until_ci, pairs, samples, analyse)
    });
    let samples = samples.map_err(trouble)?;
    let analysis = analyse(&samples);
    let interrupted = meter.is_interrupted();
    let typical = (compare.files.html.is_some() && !interrupted)
        .then(|| typical(&meter, &analysis))
        .flatten();
    Ok(Comparison {
        target: settings.target.clone(),
        address,
        samples,
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
    // With more of them it takes ever more to change anything.
    let due = pairs.is_multiple_of(LOOK_EVERY.max(pairs / 10 / LOOK_EVERY * LOOK_EVERY));
    wanted.is_some_and(|wanted| {
        due && pairs >= analysis::LEAST_SAMPLES
            && analyse(samples).width().is_some_and(|width| width <= wanted)
    })
}

/// Makes a few more pairs, and keeps the one that is nearest to both medians. They don't count: looking
/// at packets takes time.
fn typical(meter: &Meter<'_>, analysis: &Analysis) -> Option<[(Sample, Vec<Crossing>); 2]> {
    let main = analysis.main()?;
    let nearest = |side: Side, median: Option<f64>| {
        let mut best: Option<(f64, (Sample, Vec<Crossing>))> = None;
        for _ in 0..TRACED {
            let (sample, packets) = meter.traced(side)?;
            let time = sample.time(analysis.metric);
            // A side without a median, such as that of fast open that never worked, takes any.
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
