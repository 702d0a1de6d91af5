//! Large data, where small data passes.

use super::{AT_FIRST, Survey};
use crate::Result;
use crate::path::map::SMALL;
use crate::path::sample::IcmpError;
use crate::path::{Sample, SynKind};

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
        // Chance, or the size? Small and large data take turns.
        for _ in 0..AT_FIRST {
            let wait = self.wait_for(hop);
            if self.send(SynKind::Data, hop, large, wait)? != Some(false) {
                return Ok(());
            }
            self.small(SynKind::Data, hop)?;
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
