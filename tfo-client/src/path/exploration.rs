//! From end to end first, then hop by hop.
//!
//! Data reaches the target only with `--to-target`, or where the lab's mirror is the target.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tfo_core::diagnosis::{Cause, Outcome, Verdict};
use tfo_core::host::cookie_cache;
use tfo_core::path::{
    Conclusion, EndToEnd, PathMap, Plan, Prober, Shot, SocketProber, Stage, SynKind, conclude,
    survey,
};
use tfo_core::probe::Series;

use crate::config::Settings;
use crate::output::{Failure, Progress};
use crate::{probe, target};

/// The maximum number of connections from end to end that only fetch cookies.
const CONNECTIONS: u32 = 3;
/// Bytes of large data: what fits into a SYN on a path with an MTU of 1500.
const LARGE: usize = 1400;
/// When the kernel has sent its second SYN for sure.
const SECOND_SYN: Duration = Duration::from_millis(1150);
/// Time for a handshake from end to end, where the round trip time is not known.
const HANDSHAKE: Duration = Duration::from_millis(1500);
/// Time for a regular connection where none is made otherwise.
const CONNECT: Duration = Duration::from_secs(2);
/// The TTL of what is meant to reach the target.
const FAR: u8 = 64;

/// What to explore.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) all: bool,
    pub(super) to_target: bool,
    pub(super) max_hops: u8,
}

/// The result of exploring a path.
pub(super) struct Exploration {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) map: PathMap,
    pub(super) ends: Vec<EndToEnd>,
    pub(super) conclusion: Conclusion,
    /// Whether the target granted a cookie to a request without data, where that was tried.
    pub(super) granted: Option<bool>,
    /// A regular connection came about.
    pub(super) connects: bool,
    /// The kinds of SYNs that this host can send there.
    pub(super) kinds: Vec<SynKind>,
    pub(super) wish: Wish,
    pub(super) began: SystemTime,
    pub(super) took: Duration,
}

impl Exploration {
    /// The verdict on the last connection from end to end.
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.ends.last().map(|end| &end.verdict)
    }

    /// Whether the target told what arrived.
    pub(super) fn is_mirrored(&self) -> bool {
        self.ends.iter().any(EndToEnd::is_mirrored)
    }

    /// Whether fast open works from end to end; `None`: that was not tried, because it takes data.
    pub(super) fn works(&self) -> Option<bool> {
        let last = self.verdict()?.outcome == Outcome::FastOpen;
        Some(last && self.failed_elsewhere().is_none())
    }

    /// A connection that failed, where a later one from another port did not.
    pub(super) fn failed_elsewhere(&self) -> Option<&EndToEnd> {
        let last = self.ends.last()?;
        let works = last.verdict.outcome == Outcome::FastOpen;
        self.ends.iter().find(|end| works && end.is_broken())
    }

    /// Whether anybody answered.
    pub(super) fn is_answered(&self) -> bool {
        self.connects || self.map.distance().is_some() || !self.map.hops().is_empty()
    }
}

/// Explores the path to an address from the calling thread's network namespace.
pub(super) fn explore(
    settings: &Settings,
    address: SocketAddr,
    wish: Wish,
    interrupted: &Arc<AtomicBool>,
) -> Result<Exploration, Failure> {
    let explorer = Explorer {
        settings,
        address,
        wish,
        interrupted,
        progress: Progress::new(),
        began: (SystemTime::now(), Instant::now()),
    };
    let found = explorer.run();
    explorer.progress.erase();
    found
}

struct Explorer<'a> {
    settings: &'a Settings,
    address: SocketAddr,
    wish: Wish,
    interrupted: &'a AtomicBool,
    progress: Progress,
    began: (SystemTime, Instant),
}

impl Explorer<'_> {
    fn run(&self) -> Result<Exploration, Failure> {
        let local = target::local_address(self.address).ok_or_else(|| {
            Failure::NoConnection(format!("there is no route to {}", self.address.ip()))
        })?;
        let mut ends = Vec::new();
        let mut series = Series::default();
        let (mut round_trip, mut connects) = (None, false);
        let wants_requests = self.wish.all && !self.has_cookie(local);
        if self.wish.to_target && !wants_requests {
            round_trip = self.connect(&mut series, &mut ends);
            connects = round_trip.is_some();
        }
        if !connects {
            round_trip = self.regular_connection();
            connects = round_trip.is_some();
        }
        // From the port of the connection that failed, so that routers send the SYNs the same way.
        // Unless nothing passes any more from there.
        let is_dead = |end: &&EndToEnd| end.may_be(Cause::DeadAfterSynData);
        let usable = ends.last().filter(|end| !is_dead(end));
        let port = usable.and_then(EndToEnd::local).map(|local| local.port());
        let mut prober = SocketProber::new(self.address, local, port).map_err(cannot_probe)?;
        let mut map = PathMap::new(prober.local(), self.address);
        let retransmitted =
            ends.iter().any(|end| end.verdict.cause == Some(Cause::SynRetransmitted));
        let plan = |kinds: Vec<SynKind>| {
            Plan::new(kinds)
                .max_hops(self.wish.max_hops)
                .round_trip(round_trip)
                .large(Some(LARGE))
                .retransmission_passes(retransmitted)
        };
        let mut kinds = Vec::new();
        let mut granted = None;
        if wants_requests || (!self.wish.to_target && !self.has_cookie(local)) {
            kinds = prober.kinds();
            self.survey(&mut prober, &plan(kinds.clone()), &mut map)?;
            if self.wish.to_target {
                self.connect(&mut series, &mut ends);
            } else if kinds.contains(&SynKind::Request) && connects {
                granted = Some(self.request(&mut prober, local)?);
            }
        }
        let works = ends.last().is_some_and(|end| end.verdict.outcome == Outcome::FastOpen);
        let more: Vec<SynKind> = if works && !self.wish.all {
            Vec::new()
        } else {
            prober.kinds().into_iter().filter(|kind| !kinds.contains(kind)).collect()
        };
        if !more.is_empty() || kinds.is_empty() {
            self.survey(&mut prober, &plan(more.clone()), &mut map)?;
        }
        kinds.extend(more);
        if !map.interrupted {
            let wait =
                round_trip.unwrap_or(Duration::from_millis(300)) + Duration::from_millis(100);
            prober.measure_datagrams(&mut map, wait.min(Duration::from_secs(1)));
            self.connect_again(&map, &mut series, &mut ends);
        }
        Ok(Exploration {
            host: self.settings.target.host.clone(),
            address: self.address,
            conclusion: conclude(&map, &ends),
            map,
            ends,
            granted,
            connects,
            kinds,
            wish: self.wish.clone(),
            began: self.began.0,
            took: self.began.1.elapsed(),
        })
    }

    fn survey(
        &self,
        prober: &mut SocketProber,
        plan: &Plan,
        map: &mut PathMap,
    ) -> Result<(), Failure> {
        let mut watch = |map: &PathMap, stage: Stage, hop: u8| {
            let what = match stage {
                Stage::Discovering => "looking for hops",
                Stage::Comparing => "comparing",
                Stage::Repeating => "repeating",
                _ => "repeating slowly: ICMP errors are limited; Ctrl-C shows the result so far",
            };
            self.progress.show(&format!("  hop {hop}: {what} ({} SYNs)", map.samples.len()));
            !self.interrupted.load(Ordering::Relaxed)
        };
        survey(prober, plan, map, &mut watch).map_err(cannot_probe)
    }

    /// Connects as the probe does, until a connection does more than fetch a cookie. Returns the round trip time.
    fn connect(&self, series: &mut Series, ends: &mut Vec<EndToEnd>) -> Option<Duration> {
        let plan = |round_trip| {
            probe::plan(self.settings, self.address).connect_timeout(self.patience(round_trip))
        };
        let mut round_trip = None;
        for n in 1..=CONNECTIONS {
            self.progress.show(&format!("  connection {n} from end to end…"));
            let connection = probe::connect(&plan(round_trip), self.settings, n, series);
            let timing = connection.timing;
            let known = timing.handshake_rtt.or(timing.rtt);
            round_trip = round_trip.or(known);
            let granted = connection.verdict.outcome == Outcome::CookieGranted;
            ends.push(EndToEnd::new(connection.verdict, connection.evidence));
            if !granted || self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        round_trip
    }

    /// The time for a handshake: more than the kernel needs for its second SYN.
    fn patience(&self, round_trip: Option<Duration>) -> Duration {
        let known = round_trip.map(|time| SECOND_SYN + time * 3);
        self.settings.probe.connect_timeout.get().min(known.unwrap_or(HANDSHAKE))
    }

    /// Connects again if the ends show a fault that no hop shows: from the port of the survey, so that routers choose the
    /// same way, and from another one. With the first connection that makes three, which are enough to blame the path.
    fn connect_again(&self, map: &PathMap, series: &mut Series, ends: &mut Vec<EndToEnd>) {
        let found = |ends: &[EndToEnd]| !conclude(map, ends).faults.is_empty();
        let is_broken = |ends: &[EndToEnd]| ends.last().is_some_and(EndToEnd::is_broken);
        if !is_broken(ends) || found(&[]) {
            return;
        }
        let plan = || probe::plan(self.settings, self.address).connect_timeout(self.patience(None));
        let enough = ends.len() + 2;
        for probe in [plan().bind(map.local), plan(), plan()] {
            self.progress.show("  connecting again from end to end…");
            let connection = probe::connect(&probe, self.settings, CONNECTIONS, series);
            // The port may be taken by now.
            if connection.evidence.client.as_ref().is_some_and(|client| client.local.is_some()) {
                ends.push(EndToEnd::new(connection.verdict, connection.evidence));
            }
            if ends.len() >= enough || found(ends) || !is_broken(ends) {
                break;
            }
        }
    }

    /// The round trip time of a regular connection, without data.
    fn regular_connection(&self) -> Option<Duration> {
        self.progress.show("  connecting…");
        let start = Instant::now();
        let limit = CONNECT.min(self.settings.probe.connect_timeout.get());
        match TcpStream::connect_timeout(&self.address, limit) {
            Ok(_) => Some(start.elapsed()),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Some(start.elapsed()),
            Err(_) => None,
        }
    }

    /// Requests a cookie from the target, without data. Returns whether it granted one.
    fn request(&self, prober: &mut SocketProber, local: std::net::IpAddr) -> Result<bool, Failure> {
        let wait = self.settings.probe.connect_timeout.get().min(CONNECT);
        // The second request has the other option.
        for _ in 0..2 {
            prober.shoot(Shot::new(SynKind::Request, FAR, 0, wait)).map_err(cannot_probe)?;
            if self.has_cookie(local) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_cookie(&self, local: std::net::IpAddr) -> bool {
        cookie_cache::get(Some(local), self.address.ip())
            .is_ok_and(|entry| entry.is_some_and(|entry| entry.cookie.is_some()))
    }
}

fn cannot_probe(source: tfo_core::Error) -> Failure {
    let advice = if source.kind() == io::ErrorKind::Unsupported {
        "this kernel or sandbox hands out no ICMP errors: ask both ends instead, `tfo-client` with tfo-server at the target"
    } else {
        ""
    };
    Failure::Operation {
        what: "SYNs with a small TTL can't be sent".to_owned(),
        source,
        advice: advice.to_owned(),
    }
}
