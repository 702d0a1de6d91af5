//! How a connection arrived: the verdict on fast open, and the evidence for it.
//!
//! The verdict is made once, when a connection is accepted ([`inspect`]). It is counted then, and what it rests on is
//! kept for the mirror and the access log.

pub(crate) mod cookie_origin;

use std::borrow::Cow;

use tfo_core::diagnosis::{self, Cause, Evidence, Outcome, ServerEvidence, Verdict};
use tfo_core::probe::ServerObserver;
use tfo_core::socket::{Arrival, SynRecord};

use cookie_origin::CookieOrigin;

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
    pub(crate) evidence: ServerEvidence,
    /// The verdict in words, where more than the connection's own bits decided it.
    judged: Option<Verdict>,
    pub(crate) cookie_origin: Option<CookieOrigin>,
}

/// Returns the verdict on a connection that was just accepted, and with `keep` what it rests on.
pub(crate) fn inspect(
    observer: &ServerObserver,
    arrival: &Arrival,
    cookie_origin: Option<CookieOrigin>,
    keep: bool,
) -> (ArrivalVerdict, Option<Box<ArrivalDetails>>) {
    let details = |evidence, judged| Box::new(ArrivalDetails { evidence, judged, cookie_origin });
    if let Some((outcome, cause)) = observer.classify(arrival) {
        let details = keep.then(|| details(observer.evidence(arrival), None));
        return (ArrivalVerdict::Is(outcome, cause), details);
    }
    if arrival.syn == SynRecord::NotSaved && !arrival.tcp.tfo_child {
        let details = keep.then(|| details(observer.evidence(arrival), None));
        return (ArrivalVerdict::Unknown, details);
    }
    // Data came and the kernel did not take it, or the like. That is rare, and only the counters tell what came of
    // it: now, before others come and count as well.
    let evidence = Evidence::new(None, Some(observer.evidence_within_budget(arrival)));
    let judged = diagnosis::judge(&evidence);
    let verdict = ArrivalVerdict::Is(judged.outcome, judged.cause);
    let details = evidence.server.filter(|_| keep).map(|server| details(server, Some(judged)));
    (verdict, details)
}

impl ArrivalDetails {
    /// Returns the verdict that was counted, in words.
    pub(crate) fn in_words(&self, counted: ArrivalVerdict) -> Option<Cow<'_, Verdict>> {
        match (&self.judged, counted) {
            (Some(judged), _) => Some(Cow::Borrowed(judged)),
            (None, ArrivalVerdict::Is(outcome, _)) => {
                Some(Cow::Owned(diagnosis::in_words(outcome, &self.evidence)))
            }
            (None, ArrivalVerdict::NotLookedAt | ArrivalVerdict::Unknown) => None,
        }
    }

    /// Returns all that this host can say of the arrival. The change of the counters can be told only once, so it is
    /// kept.
    pub(crate) fn evidence_with_counters(&mut self, observer: &ServerObserver) -> ServerEvidence {
        let mut evidence = self.evidence.clone();
        if evidence.counters.is_none() {
            observer.add_counters(&mut evidence);
            self.evidence.counters.clone_from(&evidence.counters);
        }
        evidence
    }
}
