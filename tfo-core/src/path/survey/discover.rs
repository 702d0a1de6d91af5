//! Regular SYNs, hop by hop, until somebody answers by TCP.

use super::Survey;
use crate::Result;
use crate::path::SynKind;

/// Silent hops in a row behind which a path is searched from its other end.
const GAP: u8 = 4;
/// The same, once a hop has answered.
const LONG_GAP: u8 = 6;

impl Survey<'_> {
    pub(super) fn discover(&mut self) -> Result<()> {
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
                return self.confirm_distance(hop);
            }
            let arrived = self.map.hops().contains(&hop);
            silent = if arrived { 0 } else { silent + 1 };
            heard |= arrived;
            let gap = if heard { LONG_GAP } else { GAP };
            if silent == gap && self.map.distance().is_none() {
                // Until one of the last hops is heard.
                self.map.without_icmp = !heard;
                self.search_distance(hop)?;
                let Some(distance) = self.map.distance() else { return Ok(()) };
                if !heard && !self.heard_near(distance, hop)? {
                    return Ok(());
                }
                self.map.without_icmp = false;
            }
            if self.map.distance().is_some_and(|distance| distance <= hop + 1) {
                return Ok(());
            }
            hop += 1;
        }
        Ok(())
    }

    /// Sends more to a silent hop in front of the first TCP answer: both SYNs to it, or their answers, may have got lost.
    fn confirm_distance(&mut self, hop: u8) -> Result<()> {
        let before = hop.saturating_sub(1);
        let is_silent = before > 0 && !self.map.hops().contains(&before);
        for _ in 0..if is_silent { 2 } else { 0 } {
            if self.small(SynKind::Plain, before)? != Some(false) {
                break;
            }
        }
        // One hop may be silent for reasons of its own.
        self.map.without_icmp = hop > 2 && self.map.hops().is_empty();
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
}
