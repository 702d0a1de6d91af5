//! The hops, then from end to end, then hop by hop what that makes worth sending.
//!
//! Data reaches the target only with `--to-target`, or where a mirror introduces itself to a client that sends nothing.

use std::cell::Cell;
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tfo_core::diagnosis::{Cause, Evidence, Outcome};
use tfo_core::host::cookie_cache;
use tfo_core::path::{
    EndToEnd, FaultKind, PathMap, Plan, Prober, Shot, SocketProber, Stage, SynKind, conclude,
    survey,
};
use tfo_core::probe::{Probe, Series, mirror};
use tfo_core::socket::{Connector, Method, option};

use super::result::{Exploration, Wish};
use crate::config::Settings;
use crate::output::{Failure, Progress};
use crate::prose::counted;
use crate::{probe, target};

/// Logged as soon as it seems so.
const WITHOUT_ERRORS: &str =
    "no ICMP errors have come back so far: without them hops can't be distinguished";
/// The maximum number of connections from end to end that only fetch cookies.
const CONNECTIONS: u32 = 3;
/// The connections from other ports with `--all`.
const OTHER_PORTS: u32 = 3;
/// Bytes of large data: what fits into a SYN on a path with an MTU of 1500.
const LARGE: usize = 1400;
/// The time after which the kernel sends its second SYN.
const FIRST_SYN: Duration = Duration::from_secs(1);
/// When the kernel has sent its second SYN for sure.
const SECOND_SYN: Duration = Duration::from_millis(1080);
/// Time for a handshake from end to end, where the round trip time is not known.
const HANDSHAKE: Duration = Duration::from_millis(1500);
/// Time for a regular connection where none is made otherwise.
const CONNECT: Duration = Duration::from_secs(2);
/// The TTL of what is meant to reach the target.
const FAR: u8 = 64;

/// Explores the path to an address from the calling thread's network namespace.
pub(super) fn explore(
    settings: &Settings,
    address: SocketAddr,
    wish: Wish,
    interrupted: &Arc<AtomicBool>,
) -> Result<Exploration, Failure> {
    let progress = Progress::new();
    let explorer = Explorer {
        settings,
        address,
        wish,
        interrupted,
        progress: &progress,
        began: (SystemTime::now(), Instant::now()),
    };
    let found = explorer.run();
    progress.erase();
    found
}

/// A regular connection.
struct Regular {
    took: Duration,
    /// A mirror introduced itself.
    mirror: bool,
}

/// What is known so far.
struct Found {
    map: PathMap,
    ends: Vec<EndToEnd>,
    series: Series,
    kinds: Vec<SynKind>,
    granted: Option<bool>,
}

impl Found {
    fn new(map: PathMap) -> Self {
        Self { map, ends: Vec::new(), series: Series::default(), kinds: Vec::new(), granted: None }
    }

    fn works(&self) -> bool {
        self.ends.last().is_some_and(|end| end.verdict.outcome == Outcome::FastOpen)
            && self.ends.iter().all(|end| !end.is_broken())
    }
}

struct Explorer<'a> {
    settings: &'a Settings,
    address: SocketAddr,
    wish: Wish,
    interrupted: &'a AtomicBool,
    progress: &'a Progress,
    began: (SystemTime, Instant),
}

impl Explorer<'_> {
    fn run(mut self) -> Result<Exploration, Failure> {
        let local = self.local_address()?;
        let regular = self.regular_connection();
        self.wish.to_target |= regular.as_ref().is_some_and(|regular| regular.mirror);
        let (connects, round_trip) = (regular.is_some(), regular.map(|regular| regular.took));
        let mut found = Found::new(PathMap::new(SocketAddr::new(local, 0), self.address));
        match self.prober(local, None) {
            Ok(prober) => {
                found.map.local = prober.local();
                self.explore(prober, connects.then_some(round_trip).flatten(), &mut found)?;
            }
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                log::warn!("{e}: hops can't be distinguished");
                found.map.without_icmp = true;
                if self.wish.to_target && connects {
                    self.connect(None, &mut found);
                }
            }
            Err(e) => return Err(cannot_probe(e)),
        }
        let Found { map, ends, granted, kinds, .. } = found;
        Ok(Exploration {
            host: self.settings.target.host.clone(),
            address: self.address,
            conclusion: conclude(&map, &ends),
            map,
            ends,
            granted,
            connects,
            kinds,
            from: self.flags(),
            wish: self.wish.clone(),
            began: self.began.0,
            took: self.began.1.elapsed(),
        })
    }

    /// The address that everything is sent from.
    fn local_address(&self) -> Result<IpAddr, Failure> {
        let probe = &self.settings.probe;
        let interface = probe.interface.get();
        let local =
            probe.source.get().or_else(|| target::local_address_by(self.address, interface));
        local.ok_or_else(|| {
            let by = interface.map_or_else(String::new, |name| format!(" by {name}"));
            Failure::NoConnection(format!("there is no route to {}{by}", self.address.ip()))
        })
    }

    /// The flags that choose where packets leave.
    fn flags(&self) -> String {
        let probe = &self.settings.probe;
        let source = probe.source.get().map(|source| format!(" --source {source}"));
        let interface = probe.interface.get().map(|name| format!(" --interface {name}"));
        source.into_iter().chain(interface).collect()
    }

    fn prober(&self, local: IpAddr, port: Option<u16>) -> tfo_core::Result<SocketProber> {
        SocketProber::new(self.address, local, self.settings.probe.interface.get(), port)
    }

    /// Finds the hops, connects from end to end, and sends to each hop what that makes worth sending.
    ///
    /// All of it from one port where that is possible, so that routers send it the same way. While there is no cookie,
    /// requests come first: afterwards the kernel has a cookie, or chooses the other option.
    fn explore(
        &self,
        mut prober: SocketProber,
        round_trip: Option<Duration>,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let connects = round_trip.is_some();
        let has_cookie = self.has_cookie(found.map.local.ip());
        let mut kinds = if has_cookie { Vec::new() } else { prober.kinds() };
        if self.wish.to_target {
            kinds.retain(|kind| *kind == SynKind::Request);
        }
        let plan = Plan::new(kinds)
            .max_hops(self.wish.max_hops)
            .round_trip(round_trip)
            .retransmission_passes(self.wish.to_target && connects);
        self.survey(&mut prober, &plan, found)?;
        if found.map.interrupted {
            return Ok(());
        }
        if self.wish.to_target && connects {
            self.connect(round_trip, found);
        } else if found.kinds.contains(&SynKind::Request) && connects {
            found.granted = Some(self.request(&mut prober, found.map.local.ip())?);
        }
        let on_the_way_back = found.ends.last().is_some_and(EndToEnd::lost_on_the_way_back);
        if self.wish.all || !(found.works() || on_the_way_back) {
            let dead = found.ends.iter().any(|end| end.may_be(Cause::DeadAfterSynData));
            let repeated = |end: &EndToEnd| end.verdict.cause == Some(Cause::SynRetransmitted);
            let plan = plan
                .clone()
                .large(Some(LARGE))
                .flow_dropped(dead)
                .retransmission_passes(found.ends.iter().any(repeated));
            self.survey_more(&mut prober, &plan, found)?;
        }
        if !found.map.interrupted {
            let wait =
                round_trip.unwrap_or(Duration::from_millis(300)) + Duration::from_millis(100);
            prober.measure_datagrams(&mut found.map, wait.min(Duration::from_secs(1)));
            self.connect_again(found);
            self.survey_failing_port(&plan, found)?;
        }
        Ok(())
    }

    /// Sends the kinds that were not sent yet, from the same port. A port that the kernel still holds for a connection
    /// is replaced by another one.
    fn survey_more(
        &self,
        prober: &mut SocketProber,
        plan: &Plan,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let sent = found.kinds.clone();
        let more = prober.kinds().into_iter().filter(|kind| !sent.contains(kind)).collect();
        if !prober.is_free() {
            prober.change_port().map_err(cannot_probe)?;
            found.map = PathMap::new(prober.local(), self.address);
        }
        self.survey(prober, &plan.clone().kinds(more), found)
    }

    /// Surveys the port of a connection that failed, if hops show no fault for the port that was surveyed, and a
    /// connection from there did not fail: routers may send only some connections to a box.
    fn survey_failing_port(&self, plan: &Plan, found: &mut Found) -> Result<(), Failure> {
        let surveyed = found.map.local;
        let ports = |broken: bool| {
            let ends = found.ends.iter().filter(move |end| end.is_broken() == broken);
            ends.filter_map(EndToEnd::local).map(|local| local.port())
        };
        let differs = ports(false).any(|port| port == surveyed.port());
        let other = ports(true).find(|port| *port != surveyed.port());
        let shown = conclude(&found.map, &[]);
        let by_a_hop = shown.changes.iter().any(|it| it.kind == FaultKind::AddressChanged);
        let translated =
            found.ends.iter().any(|end| end.verdict.cause == Some(Cause::AddressTranslated));
        let is_known = !shown.faults.is_empty() || (by_a_hop && translated);
        let Some(port) = other.filter(|_| differs && !is_known && !found.map.interrupted) else {
            return Ok(());
        };
        let mut prober = self.prober(surveyed.ip(), Some(port)).map_err(cannot_probe)?;
        if prober.port() != port {
            return Ok(());
        }
        let before = std::mem::replace(&mut found.map, PathMap::new(prober.local(), self.address));
        let plan = plan.clone().kinds(prober.kinds());
        self.survey(&mut prober, &plan, found)?;
        if conclude(&found.map, &[]).faults.is_empty() {
            let interrupted = found.map.interrupted;
            found.map = before;
            found.map.interrupted |= interrupted;
        } else {
            found.map.datagram_distance = before.datagram_distance;
        }
        Ok(())
    }

    fn survey(
        &self,
        prober: &mut SocketProber,
        plan: &Plan,
        found: &mut Found,
    ) -> Result<(), Failure> {
        found.kinds.extend_from_slice(&plan.kinds);
        let said = Cell::new(found.map.without_icmp);
        let say = |map: &PathMap| {
            if map.without_icmp && !said.replace(true) {
                self.progress.erase();
                log::warn!("{WITHOUT_ERRORS}");
            }
        };
        let mut watch = |map: &PathMap, stage: Stage, hop: u8| {
            say(map);
            let what = match stage {
                Stage::Discovering => "looking for hops",
                Stage::Comparing => "comparing",
                Stage::Repeating => "repeating",
                _ => "repeating slowly: ICMP errors are limited; Ctrl-C shows the result so far",
            };
            self.progress.show(&format!(
                "  hop {hop}: {what} ({})",
                counted(map.samples.len(), "SYN", "SYNs")
            ));
            !self.interrupted.load(Ordering::Relaxed)
        };
        survey(prober, plan, &mut found.map, &mut watch).map_err(cannot_probe)?;
        say(&found.map);
        Ok(())
    }

    /// Connects as the probe does, until a connection does more than fetch a cookie: from the port of the survey. Where
    /// that works, connects from another port too, and with `--all` from some more: routers may send only some connections to a
    /// box, and a translation may give each connection another address, which no cookie fits.
    fn connect(&self, round_trip: Option<Duration>, found: &mut Found) {
        let plan = self.plan(round_trip);
        for n in 1..=CONNECTIONS {
            self.progress.show(&format!("  connection {n} from end to end…"));
            // What the port was used for before has ended at the target by then.
            thread::sleep(round_trip.unwrap_or_default());
            let local = Some(found.map.local).filter(|local| local.port() != 0);
            let series = &mut found.series;
            let mut connection = probe::connect(&bind(&plan, local), self.settings, n, series);
            if local_of(&connection.evidence).is_none() {
                // The port is taken by now.
                connection = probe::connect(&plan, self.settings, n, series);
            }
            let granted = connection.verdict.outcome == Outcome::CookieGranted;
            found.ends.push(EndToEnd::new(connection.verdict, connection.evidence));
            if !granted || self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        for n in 1..=if self.wish.all { OTHER_PORTS } else { 1 } {
            if !found.works() || self.interrupted.load(Ordering::Relaxed) {
                break;
            }
            self.progress.show(&format!("  connection {n} from another port…"));
            let connection =
                probe::connect(&plan, self.settings, CONNECTIONS + n, &mut found.series);
            found.ends.push(EndToEnd::new(connection.verdict, connection.evidence));
        }
    }

    /// A connection from end to end whose port can be surveyed afterwards.
    fn plan(&self, round_trip: Option<Duration>) -> Probe {
        target::connect_from(
            probe::plan(self.settings, self.address),
            &self.settings.probe,
            self.address,
        )
        .connect_timeout(self.patience(round_trip))
        .reset()
    }

    /// The time for a handshake: more than the kernel needs for its second SYN.
    fn patience(&self, round_trip: Option<Duration>) -> Duration {
        let known = round_trip.map(|time| SECOND_SYN + time * 3);
        self.settings.probe.connect_timeout.get().min(known.unwrap_or(HANDSHAKE))
    }

    /// Connects again if the ends show a fault that no hop shows: from the port of the survey, so that routers choose the
    /// same way, and from another one. With the first connection that makes three, which are enough to blame the path.
    fn connect_again(&self, found: &mut Found) {
        let shown =
            |found: &Found, ends: &[EndToEnd]| !conclude(&found.map, ends).faults.is_empty();
        let is_broken = |found: &Found| found.ends.last().is_some_and(EndToEnd::is_broken);
        if !is_broken(found) || shown(found, &[]) {
            return;
        }
        let plan = self.plan(None);
        let enough = found.ends.len() + 2;
        for from in [Some(found.map.local), None, None] {
            if found.ends.len() >= enough || shown(found, &found.ends) || !is_broken(found) {
                break;
            }
            self.progress.show("  connecting again from end to end…");
            let probe = bind(&plan, from.filter(|local| local.port() != 0));
            let connection = probe::connect(&probe, self.settings, CONNECTIONS, &mut found.series);
            // The port may be taken by now.
            if local_of(&connection.evidence).is_some() {
                found.ends.push(EndToEnd::new(connection.verdict, connection.evidence));
            }
        }
    }

    /// Makes a regular connection, without data, and ends it. A mirror introduces itself to such a client.
    fn regular_connection(&self) -> Option<Regular> {
        self.progress.show("  connecting…");
        let start = Instant::now();
        let limit = CONNECT.min(self.settings.probe.connect_timeout.get());
        let connector = Connector::default().method(Method::Off).timeout(limit);
        let source = target::source(&self.settings.probe, self.address);
        let connector = source.into_iter().fold(connector, Connector::bind);
        let interface = self.settings.probe.interface.get();
        let connector = interface.into_iter().fold(connector, Connector::interface);
        match connector.connect(self.address, &[]).map(TcpStream::from) {
            Ok(stream) => {
                let again = option::tcp_info(&stream).ok().and_then(|info| info.total_retrans);
                let lost = if again.unwrap_or(0) > 0 { FIRST_SYN } else { Duration::ZERO };
                let took = start.elapsed().saturating_sub(lost);
                let mirror = !self.wish.to_target && is_mirror(stream, took);
                Some(Regular { took, mirror })
            }
            Err(e) if e.error.kind() == io::ErrorKind::ConnectionRefused => {
                Some(Regular { took: start.elapsed(), mirror: false })
            }
            Err(_) => None,
        }
    }

    /// Requests a cookie from the target, without data. Returns whether it granted one.
    fn request(&self, prober: &mut SocketProber, local: IpAddr) -> Result<bool, Failure> {
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

    fn has_cookie(&self, local: IpAddr) -> bool {
        cookie_cache::get(Some(local), self.address.ip())
            .is_ok_and(|entry| entry.is_some_and(|entry| entry.cookie.is_some()))
    }
}

fn cannot_probe(source: tfo_core::Error) -> Failure {
    let what = "SYNs with a small TTL can't be sent".to_owned();
    Failure::Operation { what, source, advice: String::new() }
}

/// The probe, bound to an address if there is one.
fn bind(plan: &Probe, local: Option<SocketAddr>) -> Probe {
    local.into_iter().fold(plan.clone(), Probe::bind)
}

fn local_of(evidence: &Evidence) -> Option<SocketAddr> {
    evidence.client.as_ref().and_then(|client| client.local)
}

/// Whether a mirror is at the other end of a new connection: ends it without a byte, and waits for the greeting.
fn is_mirror(mut stream: TcpStream, round_trip: Duration) -> bool {
    let patience = (round_trip * 3 + Duration::from_millis(300)).min(Duration::from_secs(2));
    let mut bytes = [0; mirror::GREETING.len()];
    stream
        .shutdown(Shutdown::Write)
        .and_then(|()| stream.set_read_timeout(Some(patience)))
        .and_then(|()| stream.read_exact(&mut bytes))
        .is_ok_and(|()| bytes.starts_with(mirror::ANSWER))
}
