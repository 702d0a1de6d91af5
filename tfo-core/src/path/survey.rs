//! Which SYNs are sent, and when it is enough. Sockets and clocks are the [`Prober`]'s.
//!
//! 1. Regular SYNs first, hop by hop: they find the hops, and how far away the first one is who answers by TCP.
//! 2. SYNs with data end in front of that hop ([`PathMap::data_limit`]).
//! 3. The other kinds follow, hop by hop; one that gets no answer at two hops in a row goes no further.
//! 4. What looks like a fault is repeated: tests and controls take turns, and each goes first as often as the other. Where
//!    controls get no answer either, the pace slows to one SYN in [`PACE`]: routers limit the rate of their ICMP errors.

use std::time::Duration;

use super::locate::{self, CHANCE};
use super::map::SMALL;
use super::reading::{Matter, SentSyn};
use super::sample::IcmpError;
use super::{PathMap, Sample, Shot, SynKind};
use crate::Result;

/// The time between SYNs to a hop that limits its rate: longer than the second that Linux takes for each.
const PACE: Duration = Duration::from_millis(1100);
/// The kernel sends a SYN again after a second.
const RETRANSMISSION: Duration = Duration::from_millis(1050);
/// How often a test is sent at first.
const AT_FIRST: u32 = 6;
/// How often at most, if that leaves it open.
const AT_MOST: u32 = 16;
/// How often what a quote shows is looked at.
const LOOKS: usize = 3;
/// Silent hops in a row behind which a path is searched from its other end.
const GAP: u8 = 4;
/// The same, once a hop has answered.
const LONG_GAP: u8 = 6;

/// Sends SYNs, and waits for what comes back.
pub trait Prober {
    /// Sends one, and returns what came back; with a long time to wait also for its retransmission.
    ///
    /// # Errors
    /// The host can't send it at all.
    fn shoot(&mut self, shot: Shot) -> Result<Vec<Sample>>;

    /// Lets time pass.
    fn pause(&mut self, time: Duration);

    /// Sends from another port from now on.
    ///
    /// # Errors
    /// There is none.
    fn change_port(&mut self) -> Result<()>;

    /// The port that SYNs are sent from.
    fn port(&self) -> u16;

    /// Sends from a port again that SYNs were sent from before.
    fn use_port(&mut self, port: u16);

    /// What a SYN of this kind looks like when it leaves.
    fn sent(&self, kind: SynKind) -> SentSyn;
}

/// What is wanted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The kinds to send besides regular SYNs.
    pub kinds: Vec<SynKind>,
    /// The last hop to look at.
    pub max_hops: u8,
    /// The round trip time to the target, where it is known.
    pub round_trip: Option<Duration>,
    /// Large data, to find out about the MTU.
    pub large: Option<usize>,
    /// It is known that the kernel's retransmission of such SYNs passes: no SYN need wait for it.
    pub retransmission_passes: bool,
}

impl Plan {
    /// A plan for these kinds on a path of at most 30 hops.
    #[must_use]
    pub const fn new(kinds: Vec<SynKind>) -> Self {
        Self { kinds, max_hops: 30, round_trip: None, large: None, retransmission_passes: false }
    }

    /// Sets the last hop to look at.
    #[must_use]
    pub const fn max_hops(mut self, hops: u8) -> Self {
        self.max_hops = hops;
        self
    }

    /// Sets the round trip time to the target.
    #[must_use]
    pub const fn round_trip(mut self, time: Option<Duration>) -> Self {
        self.round_trip = time;
        self
    }

    /// Sets the bytes of large data.
    #[must_use]
    pub const fn large(mut self, bytes: Option<usize>) -> Self {
        self.large = bytes;
        self
    }
}

impl Plan {
    /// Says whether it is known that the kernel's retransmission passes.
    #[must_use]
    pub const fn retransmission_passes(mut self, passes: bool) -> Self {
        self.retransmission_passes = passes;
        self
    }
}

/// What is being done, for a line of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Regular SYNs find the hops.
    Discovering,
    /// All kinds are sent, hop by hop.
    Comparing,
    /// What looks like a fault is repeated.
    Repeating,
    /// The same, slowly: a hop limits the rate of its ICMP errors.
    RepeatingSlowly,
}

/// Sends SYNs along a path until it is clear what happens to them, or `watch` returns `false`.
///
/// # Errors
/// The host can't send them at all.
pub fn survey(
    prober: &mut dyn Prober,
    plan: &Plan,
    map: &mut PathMap,
    watch: &mut dyn FnMut(&PathMap, Stage, u8) -> bool,
) -> Result<()> {
    let mut survey = Survey { prober, plan, map, watch, stage: Stage::Discovering, stopped: false };
    survey.run()?;
    survey.map.interrupted |= survey.stopped;
    Ok(())
}

struct Survey<'a> {
    prober: &'a mut dyn Prober,
    plan: &'a Plan,
    map: &'a mut PathMap,
    watch: &'a mut dyn FnMut(&PathMap, Stage, u8) -> bool,
    stage: Stage,
    stopped: bool,
}

impl Survey<'_> {
    fn run(&mut self) -> Result<()> {
        if self.map.samples.is_empty() {
            self.discover()?;
        }
        if self.map.without_icmp {
            return Ok(());
        }
        self.stage = Stage::Comparing;
        let (quiet, loud): (Vec<SynKind>, Vec<SynKind>) =
            self.plan.kinds.iter().partition(|kind| !kind.has_data());
        self.compare(quiet)?;
        self.compare(loud)?;
        self.look_for_dropped_flows()?;
        self.stage = Stage::Repeating;
        for kind in self.plan.kinds.clone() {
            self.settle_loss(kind)?;
            self.settle_losses_at_times(kind)?;
            self.settle_answers(kind)?;
            self.settle_changes(kind)?;
        }
        self.try_large_data()
    }

    fn go_on(&mut self) -> bool {
        !self.stopped
    }

    /// Sends a SYN. Returns whether it arrived at the hop; `None`: it was not sent, because it is over.
    fn send(
        &mut self,
        kind: SynKind,
        ttl: u8,
        data: usize,
        wait: Duration,
    ) -> Result<Option<bool>> {
        if !self.stopped {
            self.stopped = !(self.watch)(self.map, self.stage, ttl);
        }
        if self.stopped || (kind.has_data() && ttl > self.map.data_limit()) {
            return Ok(None);
        }
        let data = if kind.has_data() { data } else { 0 };
        let samples = self.prober.shoot(Shot::new(kind, ttl, data, wait))?;
        let arrived = samples.first().is_some_and(Sample::arrived);
        self.map.sent.entry(kind).or_insert_with(|| self.prober.sent(kind));
        self.map.samples.extend(samples);
        if arrived {
            self.map.note_option(kind);
        }
        Ok(Some(arrived))
    }

    fn small(&mut self, kind: SynKind, ttl: u8) -> Result<Option<bool>> {
        let wait = self.wait_for(ttl);
        self.send(kind, ttl, SMALL, wait)
    }

    /// How long the answer of a hop may take.
    fn wait_for(&self, hop: u8) -> Duration {
        if let Some(known) = self.map.round_trip(hop) {
            return known * 3 / 2 + Duration::from_millis(50);
        }
        let target = self.plan.round_trip.unwrap_or(Duration::from_millis(300));
        (target + Duration::from_millis(100)).min(Duration::from_secs(1))
    }

    fn discover(&mut self) -> Result<()> {
        let mut silent = 0;
        let mut heard = false;
        let mut hop = 1;
        while hop <= self.plan.max_hops {
            // A second one, as one may be lost; not where nothing answers at all.
            for _ in 0..if heard { 2 } else { 1 } {
                let arrived = self.small(SynKind::Plain, hop)?;
                if arrived.is_none() {
                    return Ok(());
                }
                if arrived == Some(true) || self.map.distance() == Some(hop) {
                    break;
                }
            }
            if self.map.distance() == Some(hop) {
                return Ok(());
            }
            let arrived = self.map.hops().contains(&hop);
            silent = if arrived { 0 } else { silent + 1 };
            heard |= arrived;
            let gap = if heard { LONG_GAP } else { GAP };
            if silent == gap && self.map.distance().is_none() {
                self.search_distance(hop)?;
                let Some(distance) = self.map.distance() else {
                    self.map.without_icmp = !heard;
                    return Ok(());
                };
                if !heard && !self.heard_near(distance, hop)? {
                    self.map.without_icmp = true;
                    return Ok(());
                }
            }
            if self.map.distance().is_some_and(|distance| distance <= hop + 1) {
                return Ok(());
            }
            hop += 1;
        }
        Ok(())
    }

    /// Whether one of the last hops in front of the target answers by ICMP.
    fn heard_near(&mut self, distance: u8, behind: u8) -> Result<bool> {
        for hop in (distance.saturating_sub(3)..distance).rev().filter(|hop| *hop > behind) {
            if self.small(SynKind::Plain, hop)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Halves the hops behind this one until it is known where the first TCP answer comes from.
    fn search_distance(&mut self, behind: u8) -> Result<()> {
        let (mut near, mut far) = (behind, 64);
        for _ in 0..2 {
            self.small(SynKind::Plain, far)?;
            if self.map.distance().is_some() {
                break;
            }
        }
        if self.map.distance().is_none() {
            return Ok(());
        }
        while far - near > 1 && self.go_on() {
            let middle = u8::midpoint(near, far);
            self.small(SynKind::Plain, middle)?;
            if self.map.distance().is_some_and(|distance| distance <= middle) {
                far = middle;
            } else {
                near = middle;
            }
        }
        Ok(())
    }

    /// Sends each kind to each hop that answered a regular SYN.
    fn compare(&mut self, mut kinds: Vec<SynKind>) -> Result<()> {
        let mut missed: Vec<(SynKind, u32)> = kinds.iter().map(|kind| (*kind, 0)).collect();
        for hop in self.map.hops() {
            for kind in kinds.clone() {
                let Some(arrived) = self.small(kind, hop)? else { continue };
                if let Some((_, misses)) = missed.iter_mut().find(|(of, _)| *of == kind) {
                    *misses = if arrived { 0 } else { *misses + 1 };
                }
            }
            kinds.retain(|kind| missed.iter().all(|(of, misses)| of != kind || *misses < 2));
        }
        Ok(())
    }

    /// After SYNs with data have passed: do regular ones still, from the same port?
    fn look_for_dropped_flows(&mut self) -> Result<()> {
        let Some(far) = self.map.hops().last().copied() else { return Ok(()) };
        let passed =
            self.map.last_passed(SynKind::Data).max(self.map.last_passed(SynKind::CookieAndData));
        let far = far.min(passed);
        if passed == 0 || self.any_arrives(SynKind::Plain, far, 2)? || !self.go_on() {
            return Ok(());
        }
        self.prober.change_port()?;
        if !self.any_arrives(SynKind::Plain, far, 2)? {
            return Ok(());
        }
        self.locate_dropped_flow(passed)?;
        self.prober.change_port()
    }

    /// Goes from hop to hop with one port: to each a SYN with data, then a regular one, until that gets no answer.
    fn locate_dropped_flow(&mut self, last: u8) -> Result<()> {
        let has_data = self.plan.kinds.contains(&SynKind::Data);
        let kind = if has_data { SynKind::Data } else { SynKind::CookieAndData };
        let mut after = 0;
        for hop in self.map.hops().into_iter().filter(|hop| *hop <= last) {
            if !self.any_arrives(kind, hop, 2)? {
                continue;
            }
            if self.any_arrives(SynKind::Plain, hop, 2)? {
                after = hop;
                continue;
            }
            match self.port_makes_the_difference(hop)? {
                Some(true) => self.map.flow_dropped = Some((after, hop)),
                Some(false) => {
                    after = hop;
                    continue;
                }
                None => {}
            }
            return Ok(());
        }
        Ok(())
    }

    /// Sends regular SYNs to a hop from this port and from a new one in turn: does it answer the new one alone? `None`: it
    /// answers neither.
    fn port_makes_the_difference(&mut self, hop: u8) -> Result<Option<bool>> {
        let old = self.prober.port();
        self.prober.change_port()?;
        let new = self.prober.port();
        let mut misses = 0;
        let mut passed = 0;
        while passed < AT_FIRST && self.go_on() {
            if misses > 0 {
                self.prober.pause(PACE);
            }
            self.prober.use_port(old);
            if self.small(SynKind::Plain, hop)? == Some(true) {
                return Ok(Some(false));
            }
            self.prober.use_port(new);
            if self.small(SynKind::Plain, hop)? == Some(true) {
                passed += 1;
            } else {
                misses += 1;
            }
            if misses > 3 {
                break;
            }
        }
        Ok((passed >= AT_FIRST).then_some(true))
    }

    /// Sends until one arrives, at most so many.
    fn any_arrives(&mut self, kind: SynKind, hop: u8, times: u32) -> Result<bool> {
        for _ in 0..times {
            if self.small(kind, hop)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Repeats what seems to disappear, until that is sure, or it arrives.
    fn settle_loss(&mut self, kind: SynKind) -> Result<()> {
        let (mut slow, mut misses) = (false, 0);
        for round in 0..2 * AT_MOST {
            let Some(loss) = locate::loss(self.map, kind) else { return Ok(()) };
            let enough = loss.test.tried.min(loss.control.tried);
            let is_settled = loss.chance <= CHANCE || enough >= AT_MOST;
            let held = self.plan.retransmission_passes
                || self.map.samples.iter().any(|it| it.retransmitted && it.shot.ttl >= loss.before);
            // Where another kind disappears at the same place, fewer are enough.
            let is_alike = self.plan.kinds.iter().any(|other| {
                *other != kind
                    && locate::loss(self.map, *other)
                        .is_some_and(|other| other.chance <= CHANCE && other.before == loss.before)
            });
            if is_settled && (loss.test.tried >= AT_FIRST || is_alike) && held {
                return Ok(());
            }
            // The last one waits for the kernel's own regular SYN.
            let last = loss.test.tried + 1 >= AT_FIRST && !held && !slow;
            let hop = loss.before;
            let pair = if round % 2 == 0 { [kind, SynKind::Plain] } else { [SynKind::Plain, kind] };
            for each in pair {
                if each == SynKind::Plain && is_settled && loss.control.tried >= AT_FIRST {
                    continue;
                }
                let mut wait = self.wait_for(hop);
                if last && each == kind {
                    wait += RETRANSMISSION;
                }
                let Some(arrived) = self.send(each, hop, SMALL, wait)? else { return Ok(()) };
                if each == SynKind::Plain {
                    misses = if arrived { 0 } else { misses + 1 };
                }
                if slow {
                    self.prober.pause(PACE.saturating_sub(if arrived {
                        Duration::ZERO
                    } else {
                        wait
                    }));
                }
            }
            if misses >= 1 && !slow {
                (slow, misses) = (true, 0);
                self.stage = Stage::RepeatingSlowly;
                self.prober.pause(PACE);
            } else if slow && misses >= 3 {
                // It answers nothing any more: nothing can be said of it.
                break;
            }
        }
        self.stage = Stage::Repeating;
        Ok(())
    }

    /// Repeats at hops where some got lost and others did not.
    fn settle_losses_at_times(&mut self, kind: SynKind) -> Result<()> {
        let hops: Vec<u8> =
            locate::losses_at_times(self.map, kind).into_iter().map(|(hop, ..)| hop).collect();
        let last = self.map.last_passed(kind);
        for hop in hops.into_iter().filter(|hop| *hop <= last) {
            for round in 0..AT_MOST {
                let at = locate::losses_at_times(self.map, kind);
                let Some((_, count, chance)) = at.into_iter().find(|(at, ..)| *at == hop) else {
                    break;
                };
                let hopeless = count.tried >= AT_FIRST && chance > 0.2;
                if chance <= CHANCE || hopeless || count.tried >= AT_MOST {
                    break;
                }
                let pair =
                    if round % 2 == 0 { [kind, SynKind::Plain] } else { [SynKind::Plain, kind] };
                for each in pair {
                    let control = self.map.count(SynKind::Plain, hop);
                    if each == SynKind::Plain && control.passed + 2 < control.tried {
                        // The hop limits its rate: that settles nothing.
                        return Ok(());
                    }
                    self.small(each, hop)?;
                }
                if !self.go_on() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Repeats what was answered by somebody in the target's name, or refused by ICMP.
    fn settle_answers(&mut self, kind: SynKind) -> Result<()> {
        let answered = locate::locate(self.map).into_iter().find(|fault| {
            use super::FaultKind::{Intercepted, Prohibited, Reset};
            fault.syn == kind && matches!(fault.kind, Reset | Prohibited | Intercepted)
        });
        let Some(fault) = answered else { return Ok(()) };
        for _ in fault.tried..AT_FIRST / 2 {
            self.small(kind, fault.before_hop)?;
            self.small(SynKind::Plain, fault.before_hop)?;
        }
        Ok(())
    }

    /// Looks more than once at what quotes show: where it begins, and in front of that.
    fn settle_changes(&mut self, kind: SynKind) -> Result<()> {
        for matter in Matter::ALL {
            let first = {
                let readings = self.map.readings(kind, matter);
                let changed = readings.iter().find(|(_, change)| change.is_some());
                changed.map(|(hop, _)| *hop)
            };
            let Some(first) = first else { continue };
            let before = self.map.hops().into_iter().filter(|hop| *hop < first).max();
            for hop in before.into_iter().chain([first]) {
                let seen =
                    self.map.of(kind).filter(|it| it.shot.ttl == hop && it.arrived()).count();
                for _ in seen..LOOKS {
                    self.small(kind, hop)?;
                }
            }
            if self.map.count(SynKind::Plain, first).tried < 2 {
                self.small(SynKind::Plain, first)?;
            }
        }
        Ok(())
    }

    /// Sends large data where small data passes, and halves hops and sizes if it does not.
    fn try_large_data(&mut self) -> Result<()> {
        let Some(large) = self.plan.large else { return Ok(()) };
        let limit = self.map.data_limit();
        let far = self.map.last_passed(SynKind::Data).min(limit);
        if far == 0 || !self.plan.kinds.contains(&SynKind::Data) || self.map.flow_dropped.is_some()
        {
            return Ok(());
        }
        // From the first hop on: where a router tells of a smaller MTU, the kernel sends nothing larger afterwards.
        let mut lost = None;
        for hop in self.map.hops().into_iter().filter(|hop| *hop <= far) {
            if !self.large_arrives(hop, large)? {
                lost = Some(hop);
                break;
            }
        }
        let Some(hop) = lost.filter(|_| self.go_on() && !self.told_too_big()) else {
            return Ok(());
        };
        if !self.any_arrives(SynKind::Data, hop, 3)? {
            return Ok(());
        }
        let (mut fits, mut too_large) = (SMALL, large);
        while too_large - fits > 1 && self.go_on() {
            let middle = usize::midpoint(fits, too_large);
            if self.large_arrives(hop, middle)? {
                fits = middle;
            } else {
                too_large = middle;
            }
        }
        Ok(())
    }

    fn told_too_big(&self) -> bool {
        let told =
            |it: &Sample| it.icmp().is_some_and(|icmp| matches!(icmp.error, IcmpError::TooBig(_)));
        self.map.samples.iter().any(told)
    }

    fn large_arrives(&mut self, hop: u8, data: usize) -> Result<bool> {
        let wait = self.wait_for(hop);
        for _ in 0..2 {
            match self.send(SynKind::Data, hop, data, wait)? {
                Some(true) => return Ok(true),
                Some(false) if self.told_too_big() => return Ok(false),
                Some(false) => {}
                None => return Ok(false),
            }
        }
        Ok(false)
    }
}
