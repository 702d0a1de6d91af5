//! Makes the connections: pairs in random order, after a warm-up that is not counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tfo_core::capture::PacketPath;
use tfo_core::diagnosis::{self, Evidence, Outcome, Verdict};
use tfo_core::probe::{Probe, Series};
use tfo_core::socket::Method;

use super::job::Job;
use super::sample::{Sample, Side};
use crate::config::Settings;
use crate::network::ServedNetwork;
use crate::trace::Tracer;
use crate::{first_bytes, target};

/// The maximum number of connections to get a cookie with: the first requests it, the second requests it with the
/// other option, and the third uses it.
const WARM_UP: usize = 3;

/// The network that the connections are made in.
pub(super) enum Network {
    ThisHost,
    Lab(Box<ServedNetwork>),
}

/// The reason why a target can't be measured.
#[derive(Debug)]
pub(super) enum MeasureError {
    /// A regular connection fails, with this verdict.
    NoConnection(Box<Verdict>),
    /// The job can't be started, or the peer does not support it.
    Fault(String),
}

/// Makes connections of one job to one server.
pub(super) struct Sampler<'a> {
    network: &'a Network,
    job: Job,
    address: SocketAddr,
    fast: Probe,
    regular: Probe,
    interval: Duration,
    interrupted: &'a AtomicBool,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(
        network: &'a Network,
        job: Job,
        settings: &Settings,
        address: SocketAddr,
        interrupted: &'a AtomicBool,
    ) -> Self {
        let probe = Probe::new(address)
            .connect_timeout(settings.probe.connect_timeout.get())
            .reply_timeout(settings.probe.reply_timeout.get());
        let probe = match network {
            Network::ThisHost => target::connect_from(probe, &settings.probe, address),
            Network::Lab(_) => probe,
        };
        Self {
            network,
            job,
            address,
            fast: probe.clone().method(first_bytes::method(settings.probe.mode)),
            regular: probe.method(Method::Off),
            interval: settings.probe.interval.get(),
            interrupted,
        }
    }

    /// Fetches the cookie, and fills other caches of the path. Fails if no regular connection can be made.
    pub(super) fn warm_up(&self) -> Result<(), MeasureError> {
        let regular = self.connect(Side::Regular)?;
        if regular.verdict.outcome == Outcome::Failed {
            return Err(MeasureError::NoConnection(Box::new(regular.verdict)));
        }
        for _ in 0..WARM_UP {
            let sample = self.connect(Side::FastOpen)?;
            let done = matches!(sample.verdict.outcome, Outcome::FastOpen | Outcome::NotAttempted);
            if done || self.is_interrupted() {
                break;
            }
        }
        Ok(())
    }

    /// Makes pairs until `enough` returns true for all samples so far, or the user interrupts.
    pub(super) fn pairs(
        &self,
        mut enough: impl FnMut(&[Sample]) -> bool,
    ) -> Result<Vec<Sample>, MeasureError> {
        let (mut samples, mut evidence) = (Vec::new(), Vec::new());
        for pair in 1.. {
            let order = if fastrand::bool() {
                [Side::FastOpen, Side::Regular]
            } else {
                [Side::Regular, Side::FastOpen]
            };
            let mut both = Vec::new();
            for side in order {
                if self.is_interrupted() {
                    return Ok(judged(samples, evidence));
                }
                let (sample, seen) = self.observe(side)?;
                evidence.push(seen);
                both.push(Sample { pair, first: both.is_empty(), ..sample });
                thread::sleep(self.interval);
            }
            samples.append(&mut both);
            if enough(&samples) {
                break;
            }
        }
        Ok(judged(samples, evidence))
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Makes one connection.
    pub(super) fn connect(&self, side: Side) -> Result<Sample, MeasureError> {
        self.observe(side).map(|(sample, _)| sample)
    }

    /// Makes one connection, and returns its evidence too.
    fn observe(&self, side: Side) -> Result<(Sample, Evidence), MeasureError> {
        let probe = if side == Side::FastOpen { &self.fast } else { &self.regular }.clone();
        let (first, mut dialogue) = self.job.start().map_err(MeasureError::Fault)?;
        let (seen, dialogue) =
            self.network.run(move || (probe.converse(&first, &mut dialogue), dialogue));
        if let Some(fault) = dialogue.fault() {
            return Err(MeasureError::Fault(fault.to_owned()));
        }
        let (beginning, token) = dialogue.reply_and_token();
        let client = seen.evidence;
        let lossy = client.tcp.is_some_and(|tcp| tcp.total_retrans > 0);
        let evidence = Evidence::new(Some(client), first_bytes::server_evidence(beginning, token));
        let sample = Sample {
            pair: 0,
            first: true,
            side,
            verdict: diagnosis::judge(&evidence),
            times: dialogue.times(),
            rtt: seen.timing.handshake_rtt,
            ended: seen.timing.ended.unwrap_or_default(),
            lossy,
            tls: dialogue.tls_version(),
        };
        Ok((sample, evidence))
    }

    /// Makes one connection and captures its packets; `None` if they can't be captured.
    pub(super) fn traced(&self, side: Side) -> Option<(Sample, Vec<PacketPath>)> {
        let (sample, packets) = match self.network {
            Network::ThisHost => {
                let tracer = Tracer::start(self.address).ok()?;
                let sample = self.connect(side).ok()?;
                let packets = tracer.take(sample.rtt.unwrap_or_default());
                (sample, packets)
            }
            Network::Lab(lab) => {
                let quiet = Duration::from_millis(20);
                lab.network.settle(quiet);
                let before = lab.network.packets().len();
                let sample = self.connect(side).ok()?;
                lab.network.settle(quiet + 2 * sample.rtt.unwrap_or_default());
                (sample, lab.network.packets().split_off(before))
            }
        };
        // The lab records a limited number of packets.
        (!packets.is_empty()).then_some((sample, packets))
    }
}

impl Network {
    /// Runs code on the client's host.
    fn run<T: Send + 'static>(&self, code: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Self::ThisHost => code(),
            Self::Lab(lab) => lab.network.client().run(code),
        }
    }
}

/// Judges the samples of a run with what the regular connections among them say of the others.
fn judged(mut samples: Vec<Sample>, mut evidence: Vec<Evidence>) -> Vec<Sample> {
    Series::settle(&mut evidence);
    for (sample, evidence) in samples.iter_mut().zip(&evidence) {
        sample.verdict = diagnosis::judge(evidence);
    }
    samples
}
