//! Which SYNs are sent, and when it is enough. Sockets and clocks are the [`Prober`]'s.
//!
//! 1. Regular SYNs first, hop by hop: they find the hops, and how far away the first one is who answers by TCP.
//! 2. SYNs with data end in front of that hop ([`PathMap::data_limit`]).
//! 3. The other kinds follow, hop by hop; one that gets no answer at two hops in a row goes no further.
//! 4. Large data is compared with small data that follows it at once, never with small data of another time.
//! 5. What looks like a fault is repeated: tests and controls take turns, and each goes first as often as the other. Where
//!    controls get no answer either, the pace slows to one SYN in [`PACE`]: routers limit the rate of their ICMP errors.

mod discover;
mod flows;
mod large;
mod settle;

use std::time::Duration;

use super::map::SMALL;
use super::plan::{Plan, Prober, Stage};
use super::{PathMap, Reply, Sample, Shot, SynKind};
use crate::Result;

/// The time between SYNs to a hop that limits its rate: longer than the second that Linux takes for each.
const PACE: Duration = Duration::from_millis(1100);
/// The least time to wait for an answer beyond the time that it took before.
const LEAST: Duration = Duration::from_millis(20);
/// The round trip time of a target that does not answer.
const UNKNOWN: Duration = Duration::from_millis(200);
/// How often a test is sent at first.
const AT_FIRST: u32 = 6;

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
    let stage = Stage::Discovering;
    let mut survey = Survey { prober, plan, map, watch, stage, spread: None, stopped: false };
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
    /// How much longer answers take than the fastest one of the same hop: the most, which fades away.
    spread: Option<Duration>,
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
        if self.plan.flow_dropped && self.is_dropped_flow()? {
            return Ok(());
        }
        self.stage = Stage::Comparing;
        let (quiet, loud): (Vec<SynKind>, Vec<SynKind>) =
            self.plan.kinds.iter().partition(|kind| !kind.has_data());
        self.compare(quiet)?;
        self.compare(loud)?;
        self.look_for_dropped_flows()?;
        if self.map.flow_dropped.is_some() {
            // Nothing passes from the first port any more.
            return Ok(());
        }
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
        let known = self.map.round_trip(ttl);
        let samples = self.prober.shoot(Shot::new(kind, ttl, data, wait))?;
        if let (Some(known), [only]) = (known, &samples[..]) {
            self.learn_spread(only, known);
        }
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

    /// Learns from a SYN to a hop that is known to answer after that time.
    fn learn_spread(&mut self, sample: &Sample, known: Duration) {
        let is_control = sample.shot.kind == SynKind::Plain && sample.port == self.map.local.port();
        if sample.icmp().is_some() {
            let late = sample.after.saturating_sub(known);
            self.spread = Some(self.spread.map_or(late, |spread| late.max(spread * 7 / 8)));
        } else if is_control && sample.reply == Reply::Silence {
            // It may just be late.
            self.spread = Some(self.spread.unwrap_or_default().max(LEAST) * 2);
        }
    }

    /// How long the answer of a hop may take: longer than the slowest one so far.
    fn wait_for(&self, hop: u8) -> Duration {
        if let Some(known) = self.map.round_trip(hop) {
            let spread = self.spread.map_or(LEAST * 2, |spread| spread * 2);
            return known * 5 / 4 + spread.clamp(LEAST, LEAST * 10);
        }
        let target = self.plan.round_trip.unwrap_or(UNKNOWN);
        (target + Duration::from_millis(100)).min(Duration::from_secs(1))
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

    /// Sends until one arrives, at most this number.
    fn any_arrives(&mut self, kind: SynKind, hop: u8, times: u32) -> Result<bool> {
        for _ in 0..times {
            if self.small(kind, hop)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
