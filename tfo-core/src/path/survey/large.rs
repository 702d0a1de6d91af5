//! Large data, where small data passes.

use super::{PACE, Survey};
use crate::Result;
use crate::path::map::SMALL;
use crate::path::sample::IcmpError;
use crate::path::{Sample, SynKind};

/// How often large data must get lost, and small data not: by chance that happens in 0.4 % of all runs.
const ENOUGH: u32 = 5;

impl Survey<'_> {
    /// Sends large data where small data passes, and halves hops and sizes if it does not.
    pub(super) fn try_large_data(&mut self) -> Result<()> {
        let Some(large) = self.plan.large else { return Ok(()) };
        let limit = self.map.data_limit();
        let far = self.map.last_passed(SynKind::Data).min(limit);
        if far == 0 || !self.plan.kinds.contains(&SynKind::Data) || self.map.flow_dropped.is_some()
        {
            return Ok(());
        }
        // From the first hop on: where a router reports a smaller MTU, the kernel sends nothing larger afterwards.
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
        // Chance, or the size?
        if self.size_matters(hop, large, ENOUGH)? != Some(true) {
            return Ok(());
        }
        let (mut fits, mut too_large) = (SMALL, large);
        while too_large - fits > 1 {
            let middle = usize::midpoint(fits, too_large);
            match self.size_matters(hop, middle, 2)? {
                Some(true) => too_large = middle,
                Some(false) => fits = middle,
                None => break,
            }
        }
        Ok(())
    }

    fn told_too_big(&self) -> bool {
        let told =
            |it: &Sample| it.icmp().is_some_and(|icmp| matches!(icmp.error, IcmpError::TooBig(_)));
        self.map.samples.iter().any(told)
    }

    /// Whether one of two SYNs with large data arrives.
    fn large_arrives(&mut self, hop: u8, data: usize) -> Result<bool> {
        let wait = self.wait_for(hop);
        for _ in 0..2 {
            let arrived = self.send(SynKind::Data, hop, data, wait)?;
            if arrived != Some(false) || self.told_too_big() {
                return Ok(arrived == Some(true));
            }
        }
        Ok(false)
    }

    /// Whether data of this size gets no answer where small data does: so often, and never another way. `None`: that is open.
    ///
    /// Each large SYN is followed by a small one. What is lost counts only if that one is answered: else the hop limits
    /// the rate of its ICMP errors.
    fn size_matters(&mut self, hop: u8, data: usize, wanted: u32) -> Result<Option<bool>> {
        let (mut lost, mut unanswered) = (0, 0);
        while lost < wanted && unanswered < 3 {
            for bytes in [data, SMALL] {
                if unanswered > 0 {
                    self.prober.pause(PACE);
                }
                let wait = self.wait_for(hop);
                match (self.send(SynKind::Data, hop, bytes, wait)?, bytes == data) {
                    (None, _) => return Ok(None),
                    (Some(true), true) => return Ok(Some(false)),
                    (Some(true), false) => lost += 1,
                    (Some(false), true) => {}
                    (Some(false), false) => unanswered += 1,
                }
            }
        }
        Ok((lost >= wanted).then_some(true))
    }
}
