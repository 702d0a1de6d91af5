//! What looks like a fault is repeated, until it is sure.

use std::time::Duration;

use super::{AT_FIRST, PACE, Survey};
use crate::Result;
use crate::path::locate::{self, CHANCE};
use crate::path::map::SMALL;
use crate::path::plan::Stage;
use crate::path::reading::Matter;
use crate::path::{FaultKind, SynKind};

/// The kernel sends a SYN again after a second.
const RETRANSMISSION: Duration = Duration::from_millis(1050);
/// How often a test is sent at most, if it is open until then.
const AT_MOST: u32 = 16;
/// How often what a quote shows is looked at.
const LOOKS: usize = 3;

impl Survey<'_> {
    /// Repeats what seems to disappear, until that is sure, or it arrives.
    pub(super) fn settle_loss(&mut self, kind: SynKind) -> Result<()> {
        let (mut slow, mut misses) = (false, 0);
        for round in 0..2 * AT_MOST {
            let Some(loss) = locate::loss(self.map, kind) else { return Ok(()) };
            let enough = loss.test.tried.min(loss.control.tried);
            let is_settled = loss.chance <= CHANCE || enough >= AT_MOST;
            let held = self.plan.retransmission_passes
                || self.map.samples.iter().any(|it| it.retransmitted && it.shot.ttl >= loss.before);
            let is_alike = self.plan.kinds.iter().any(|other| {
                *other != kind
                    && locate::loss(self.map, *other)
                        .is_some_and(|other| other.chance <= CHANCE && other.before == loss.before)
            });
            // Where another kind disappears at the same place, or a connection from end to end met it, fewer are enough.
            let is_known = is_alike || self.plan.retransmission_passes;
            if is_settled && (loss.test.tried >= AT_FIRST || is_known) && held {
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
    pub(super) fn settle_losses_at_times(&mut self, kind: SynKind) -> Result<()> {
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
    pub(super) fn settle_answers(&mut self, kind: SynKind) -> Result<()> {
        let answered = locate::locate(self.map).into_iter().find(|fault| {
            use FaultKind::{Intercepted, Prohibited, Reset};
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
    pub(super) fn settle_changes(&mut self, kind: SynKind) -> Result<()> {
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
}
