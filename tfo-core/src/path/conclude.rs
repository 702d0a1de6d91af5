//! What the two ends add to what the hops show: faults behind the last hop that answers, and on the way back.
//!
//! 1. A fault that hops show is theirs: the ends add nothing to it.
//! 2. What a connection from another port suffered may lie on another way: its interval begins at this host.
//! 3. An answer that comes from nearer than datagrams have to go is a proxy's.

use std::net::SocketAddr;

use super::locate::locate;
use super::reading::Matter;
use super::{Fault, FaultKind, PathMap, SynKind};
use crate::diagnosis::{Cause, Evidence, Outcome, Verdict};
use crate::socket::Attempt;

/// NOPs at the end of a SYN's options that Linux does not write.
const NOPS: u8 = 4;

/// A connection from end to end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EndToEnd {
    /// The verdict on it.
    pub verdict: Verdict,
    /// What both ends saw.
    pub evidence: Evidence,
}

impl EndToEnd {
    /// A connection.
    #[must_use]
    pub const fn new(verdict: Verdict, evidence: Evidence) -> Self {
        Self { verdict, evidence }
    }

    /// Returns the local address of the connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.evidence.client.as_ref().and_then(|client| client.local)
    }

    /// The kind of its first SYN.
    #[must_use]
    pub fn kind(&self) -> SynKind {
        match self.evidence.client.as_ref().map(|client| client.attempt) {
            Some(Attempt::InSyn(_)) => SynKind::CookieAndData,
            Some(Attempt::AfterHandshake) => SynKind::Request,
            _ => SynKind::Plain,
        }
    }

    /// Returns whether fast open was tried, and did not work.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        matches!(self.verdict.outcome, Outcome::Fallback | Outcome::Failed)
    }

    /// Returns whether this is the cause or, if the verdict leaves the cause open, one of the candidates.
    #[must_use]
    pub fn may_be(&self, cause: Cause) -> bool {
        self.verdict
            .cause
            .map_or_else(|| self.verdict.candidates.contains(&cause), |known| known == cause)
    }

    /// Returns whether the SYN arrived as it was sent, and only its answer suffered: no hop can show that.
    #[must_use]
    pub fn lost_on_the_way_back(&self) -> bool {
        match self.verdict.cause {
            Some(Cause::SynAckOptionStripped) => true,
            Some(Cause::SynRetransmitted) => has_arrived(self),
            _ => false,
        }
    }

    /// Returns whether the server reported what arrived.
    #[must_use]
    pub const fn is_mirrored(&self) -> bool {
        self.evidence.server.is_some()
    }
}

/// The result of a survey: faults, changes, and a proxy on the way.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Conclusion {
    /// What keeps fast open from working, from the first hop to the last.
    pub faults: Vec<Fault>,
    /// What is different on the way, and does no harm.
    pub changes: Vec<Fault>,
    /// The hop at which somebody else than the target answers by TCP.
    pub proxy: Option<u8>,
    /// The hop at which different routers answered the same connection.
    pub unstable: Option<u8>,
}

/// Draws the conclusion from what hops and ends show.
#[must_use]
pub fn conclude(map: &PathMap, ends: &[EndToEnd]) -> Conclusion {
    let mut all = locate(map);
    let distance = map.distance();
    let proxy =
        distance.filter(|tcp| map.datagram_distance.is_some_and(|distance| distance > *tcp));
    let works = ends.last().is_some_and(|end| end.verdict.outcome == Outcome::FastOpen);
    // What arrived at the target is the proxy's.
    let telling = if proxy.is_some() { &[] } else { ends };
    if let Some(hop) = proxy.filter(|_| !works) {
        let after = map.hops().last().copied().unwrap_or(0).min(hop - 1);
        all.push(Fault::new(FaultKind::Proxy, SynKind::Plain, after, hop));
    }
    for end in telling {
        if let Some(fault) = behind_the_hops(map, telling, end, &all) {
            all.push(fault);
        }
        if let Some(change) = translation(map, end, &all) {
            all.push(change);
        }
    }
    // The kernel's regular SYN passed from end to end: the control with the same socket.
    let passed = ends.iter().any(|end| end.verdict.cause == Some(Cause::SynRetransmitted));
    for fault in all.iter_mut().filter(|fault| fault.kind == FaultKind::Dropped) {
        fault.retransmission_passed = fault.retransmission_passed.max(passed.then_some(true));
    }
    // A translation matters where cookies do not fit because of it.
    let translated = ends.iter().any(|end| end.verdict.cause == Some(Cause::AddressTranslated));
    let (changes, faults) = all.into_iter().partition(|fault| {
        fault.kind.is_harmless() && !(translated && fault.kind == FaultKind::AddressChanged)
    });
    Conclusion { faults, changes, proxy, unstable: map.first_unstable_hop() }
}

/// What the ends of a connection prove, and no hop shows.
fn behind_the_hops(
    map: &PathMap,
    ends: &[EndToEnd],
    end: &EndToEnd,
    known: &[Fault],
) -> Option<Fault> {
    let cause = settled_cause(end, ends)?;
    let (word, syn) = word(cause, end)?;
    // What is gone is gone from each kind of SYN that has it.
    let of_option = |kind| matches!(kind, FaultKind::OptionOverwritten | FaultKind::OptionRemoved);
    let is_known = known.iter().any(|fault| {
        let same_data = fault.syn.has_data() && syn.has_data();
        let alike = same_data || (fault.syn.has_option() && syn.has_option());
        (fault.kind == word && alike)
            || (of_option(fault.kind) && of_option(word))
            || (fault.kind == FaultKind::Prohibited && word == FaultKind::Reset)
    });
    let alike = || ends.iter().filter(|other| other.kind() == syn || end.kind() == other.kind());
    let failed = alike().filter(|other| other.may_be(cause)).count();
    // One SYN may be lost by chance.
    let may_be_chance =
        matches!(word, FaultKind::Dropped | FaultKind::AnswerDropped | FaultKind::FlowDropped);
    let by_chance = may_be_chance && failed < 2;
    if is_known || by_chance {
        return None;
    }
    let before = map.distance()?;
    let of_port = |other: &&EndToEnd| {
        other.may_be(cause) && other.local().is_some_and(|local| local.port() == map.local.port())
    };
    let from_same_port = ends.iter().any(|other| of_port(&other));
    let after = match word {
        FaultKind::AnswerOptionRemoved | FaultKind::AnswerDropped => 0,
        _ if !from_same_port => 0,
        FaultKind::OptionOverwritten | FaultKind::OptionRemoved | FaultKind::CookieChanged => {
            last_unchanged(map, syn, Matter::Option)
        }
        FaultKind::DataRemoved => last_unchanged(map, syn, Matter::Data),
        FaultKind::FlowDropped => 0,
        _ => map.last_passed(syn),
    };
    let mut fault = Fault::new(word, syn, after, before);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    fault.tried = count(alike().count());
    fault.passed = count(alike().filter(|it| it.verdict.outcome == Outcome::FastOpen).count());
    let control = || map.of(SynKind::Plain).filter(|it| it.shot.ttl >= before);
    fault.control_tried = count(control().count());
    fault.control_passed = count(control().filter(|it| it.is_tcp()).count());
    if let Some(hop) = map.first_unstable_hop().filter(|hop| *hop <= after) {
        (fault.after_hop, fault.widened) = (hop - 1, true);
    }
    Some(fault)
}

/// Returns the cause of a connection. One connection rarely proves a cause: if this one left it open, the cause is that
/// of a later connection which settled it, and which is a candidate here.
fn settled_cause(end: &EndToEnd, ends: &[EndToEnd]) -> Option<Cause> {
    let settled = || ends.iter().rev().filter_map(|other| other.verdict.cause);
    end.verdict.cause.or_else(|| settled().find(|cause| end.may_be(*cause)))
}

/// Returns the fault that a cause stands for, and the kind of SYN that it happens to.
fn word(cause: Cause, end: &EndToEnd) -> Option<(FaultKind, SynKind)> {
    let sent = end.kind();
    Some(match cause {
        Cause::OptionStripped => {
            let syn = end.evidence.server.as_ref().and_then(|server| server.syn.saved());
            let nops = syn.is_some_and(|syn| syn.trailing_nops >= NOPS);
            let word = if nops { FaultKind::OptionOverwritten } else { FaultKind::OptionRemoved };
            (word, sent)
        }
        Cause::SynDataStripped => (FaultKind::DataRemoved, SynKind::CookieAndData),
        Cause::CookieCorrupted => (FaultKind::CookieChanged, SynKind::CookieAndData),
        Cause::SynRetransmitted if has_arrived(end) => (FaultKind::AnswerDropped, sent),
        Cause::SynRetransmitted => (FaultKind::Dropped, sent),
        Cause::ResetOnSynData => (FaultKind::Reset, SynKind::CookieAndData),
        Cause::DeadAfterSynData => (FaultKind::FlowDropped, SynKind::CookieAndData),
        Cause::SynAckOptionStripped => (FaultKind::AnswerOptionRemoved, SynKind::Request),
        _ => return None,
    })
}

/// Whether the server's connection began with a SYN of fast open, not with the kernel's regular retransmission.
fn has_arrived(end: &EndToEnd) -> bool {
    let syn = end.evidence.server.as_ref().and_then(|server| server.syn.saved());
    syn.is_some_and(|syn| syn.fast_open.is_some() || syn.payload_bytes > 0)
}

/// The last hop that saw such SYNs as they were sent.
fn last_unchanged(map: &PathMap, kind: SynKind, matter: Matter) -> u8 {
    let readings = map.readings(kind, matter);
    let unchanged = readings.iter().filter(|(_, change)| change.is_none());
    unchanged.map(|(hop, _)| *hop).max().unwrap_or(0)
}

/// An address that arrived otherwise.
fn translation(map: &PathMap, end: &EndToEnd, known: &[Fault]) -> Option<Fault> {
    let arrived = end.evidence.server.as_ref()?.source;
    let is_same = end.local()?.ip().to_canonical() == arrived.ip().to_canonical();
    let is_known = known.iter().any(|fault| fault.kind == FaultKind::AddressChanged);
    if is_same || is_known {
        return None;
    }
    let mut change = Fault::new(FaultKind::AddressChanged, end.kind(), 0, map.distance()?);
    (change.by, change.tried) = (Some(arrived.ip()), 1);
    Some(change)
}
