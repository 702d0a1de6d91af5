//! Boxes that let a SYN with data pass, and then nothing else from its port.

use super::{PACE, Survey};
use crate::Result;
use crate::path::{PathMap, SynKind};

/// How often the new port must be answered, and the old one not: by chance that happens in 0.4 % of all runs.
const ENOUGH: u32 = 5;

impl Survey<'_> {
    /// After SYNs with data have passed: do regular ones still, from the same port?
    pub(super) fn look_for_dropped_flows(&mut self) -> Result<()> {
        let Some(far) = self.map.hops().last().copied() else { return Ok(()) };
        let passed =
            self.map.last_passed(SynKind::Data).max(self.map.last_passed(SynKind::CookieAndData));
        let far = far.min(passed);
        if passed == 0 || self.any_arrives(SynKind::Plain, far, 2)? || !self.go_on() {
            return Ok(());
        }
        let first = self.prober.port();
        self.prober.change_port()?;
        if self.any_arrives(SynKind::Plain, far, 2)? {
            self.locate_dropped_flow(passed)?;
        }
        // What comes from another port may go another way: nothing is compared with it.
        self.prober.use_port(first);
        Ok(())
    }

    /// Looks for what the ends suspect: that nothing passes any more from a port once a SYN with data has passed from it.
    ///
    /// If hops do not show that, the survey begins again from a new port: the one so far may be dead.
    pub(super) fn is_dropped_flow(&mut self) -> Result<bool> {
        self.prober.change_port()?;
        self.locate_dropped_flow(self.map.data_limit())?;
        if self.map.flow_dropped.is_some() || !self.go_on() {
            return Ok(true);
        }
        self.prober.change_port()?;
        let mut local = self.map.local;
        local.set_port(self.prober.port());
        *self.map = PathMap::new(local, self.map.target);
        self.discover()?;
        Ok(self.map.without_icmp)
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
            if self.any_arrives(SynKind::Plain, hop, 1)? {
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
        while passed < ENOUGH && self.go_on() {
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
        Ok((passed >= ENOUGH).then_some(true))
    }
}
