//! How a connection arrived: the verdict on fast open, and the evidence for it.
//!
//! The verdict is made when a connection is accepted ([`verdict`]), and counted. The evidence is read later by
//! the mirror and by the access log.

pub(crate) mod cookie_origin;

use tfo_core::cookie::forensics::Origin;
use tfo_core::diagnosis::{self, Cause, Evidence, Outcome, ServerEvidence, Verdict};
use tfo_core::probe::{ArrivalRecord, Arrived, ServerObserver};
use tfo_core::socket::Arrival;

/// What came of fast open, as far as the arrival tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArrivalVerdict {
    /// `engine.evidence` is "counters".
    NotLookedAt,
    /// The SYN was not seen: it came before the listener saved them.
    Unknown,
    Is(Outcome, Option<Cause>),
}

/// What is kept of an arrival while the connection is open.
pub(crate) struct ArrivalDetails {
    pub(crate) record: ArrivalRecord,
    /// Once all that the host can say was read.
    pub(crate) evidence: Option<Box<ServerEvidence>>,
    pub(crate) cookie_origin: Option<Origin>,
}

/// Returns the verdict on a connection that was just accepted, and the evidence if it was needed for that or
/// may change (`keep_evidence`).
pub(crate) fn verdict(
    observer: &ServerObserver,
    arrival: &Arrival,
    keep_evidence: bool,
) -> (ArrivalVerdict, Option<ServerEvidence>) {
    match observer.outcome(arrival) {
        // What settles it may be another a moment later.
        Arrived::Settled(outcome @ Outcome::CookieGranted) => {
            (ArrivalVerdict::Is(outcome, None), keep_evidence.then(|| observer.evidence(arrival)))
        }
        Arrived::Settled(outcome) => (ArrivalVerdict::Is(outcome, None), None),
        Arrived::NotSeen => (ArrivalVerdict::Unknown, None),
        // Data came and the kernel did not take it, or the like. That is rare, and only the counters
        // tell what came of it: now, before others come and count as well.
        _ => {
            let evidence = observer.evidence_within_budget(arrival);
            let verdict = diagnosis::judge(&Evidence::new(None, Some(evidence.clone())));
            (ArrivalVerdict::Is(verdict.outcome, verdict.cause), Some(evidence))
        }
    }
}

/// Judges the evidence in words, for a connection that was counted as `verdict`.
pub(crate) fn judge(evidence: &ServerEvidence, verdict: ArrivalVerdict) -> Option<Verdict> {
    let ArrivalVerdict::Is(outcome, _) = verdict else { return None };
    let verdict = diagnosis::judge(&Evidence::new(None, Some(evidence.clone())));
    // What the workers count without words is what the words say.
    debug_assert_eq!(verdict.outcome, outcome, "{evidence:?}");
    Some(verdict)
}

impl ArrivalDetails {
    /// Returns what is known of the arrival, without reading the counters. The next call reads it again.
    pub(crate) fn evidence(&mut self, observer: &ServerObserver) -> ServerEvidence {
        match self.evidence.take() {
            Some(evidence) => *evidence,
            None => observer.evidence_of(&self.record),
        }
    }

    /// Returns all that is known of the arrival. Counter deltas can be read only once, so the evidence is kept.
    pub(crate) fn full_evidence(&mut self, observer: &ServerObserver) -> ServerEvidence {
        match self.evidence.as_deref() {
            Some(evidence) if evidence.counters.is_some() => evidence.clone(),
            // What was seen at the arrival is what the verdict rests on: it stays.
            Some(_) => observer.full_evidence_of(&self.record),
            None => {
                let full = observer.full_evidence_of(&self.record);
                self.evidence = Some(Box::new(full.clone()));
                full
            }
        }
    }
}
