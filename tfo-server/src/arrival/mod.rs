//! How a connection arrived: the verdict on fast open, and the evidence for it.
//!
//! The verdict is made and counted once, when a connection is accepted ([`inspect`]). Its evidence is kept for the
//! mirror and the access log.

pub(crate) mod cookie_origin;

use std::borrow::Cow;

use tfo_core::diagnosis::{self, Cause, Evidence, Outcome, ServerEvidence, Verdict};
use tfo_core::probe::ServerObserver;
use tfo_core::socket::{Arrival, SynRecord};

use cookie_origin::OriginReading;

/// The verdict on fast open, as far as the arrival shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArrivalVerdict {
    /// Evidence is not collected: `engine.evidence` is "counters".
    NotLookedAt,
    /// The SYN was not saved: it arrived before the listener was configured to save SYNs.
    Unknown,
    Is(Outcome, Option<Cause>),
}

/// The evidence that is kept while the connection is open.
pub(crate) struct ArrivalDetails {
    pub(crate) evidence: ServerEvidence,
    /// The full verdict, if more than the connection's own bits decided it.
    judged: Option<Verdict>,
    pub(crate) cookie_origin: Option<OriginReading>,
}

/// Returns the verdict on a connection that was just accepted, and with `keep` its evidence.
pub(crate) fn inspect(
    observer: &ServerObserver,
    arrival: &Arrival,
    cookie_origin: Option<OriginReading>,
    keep: bool,
) -> (ArrivalVerdict, Option<Box<ArrivalDetails>>) {
    let origin_by_keys = cookie_origin.and_then(OriginReading::by_keys).map(Into::into);
    let details = |mut evidence: ServerEvidence, judged| {
        evidence.cookie_origin = origin_by_keys;
        Box::new(ArrivalDetails { evidence, judged, cookie_origin })
    };
    if let Some((outcome, cause)) = observer.classify(arrival) {
        let details = keep.then(|| details(observer.evidence(arrival), None));
        return (ArrivalVerdict::Is(outcome, cause), details);
    }
    if arrival.syn == SynRecord::NotSaved && !arrival.tcp.tfo_child {
        let details = keep.then(|| details(observer.evidence(arrival), None));
        return (ArrivalVerdict::Unknown, details);
    }
    // A rare case, such as data that the kernel did not accept. Only the counters show its cause. They are read at
    // once, before other connections change them.
    let mut server = observer.evidence_within_budget(arrival);
    server.cookie_origin = origin_by_keys;
    let evidence = Evidence::new(None, Some(server));
    let judged = diagnosis::judge(&evidence);
    let verdict = ArrivalVerdict::Is(judged.outcome, judged.cause);
    let details = evidence.server.filter(|_| keep).map(|server| details(server, Some(judged)));
    (verdict, details)
}

impl ArrivalDetails {
    /// Returns the counted verdict with its texts.
    pub(crate) fn in_words(&self, counted: ArrivalVerdict) -> Option<Cow<'_, Verdict>> {
        match (&self.judged, counted) {
            (Some(judged), _) => Some(Cow::Borrowed(judged)),
            (None, ArrivalVerdict::Is(outcome, _)) => {
                Some(Cow::Owned(diagnosis::in_words(outcome, &self.evidence)))
            }
            (None, ArrivalVerdict::NotLookedAt | ArrivalVerdict::Unknown) => None,
        }
    }

    /// Returns all evidence on the arrival. Counter deltas can be read only once, so they are stored.
    pub(crate) fn evidence_with_counters(&mut self, observer: &ServerObserver) -> ServerEvidence {
        let mut evidence = self.evidence.clone();
        if evidence.counters.is_none() {
            observer.add_counters(&mut evidence);
            self.evidence.counters.clone_from(&evidence.counters);
        }
        evidence
    }
}
