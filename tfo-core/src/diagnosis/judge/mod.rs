//! From evidence to a verdict. Which causes remain is read off the table of [`rules`](super::rules); this folder reads
//! the signs, and puts what remains into words.
//!
//! | file | question |
//! | --- | --- |
//! | `facts` | what does the evidence say, bit by bit? |
//! | `client` | the handshake ended: did fast open work, seen from the client? |
//! | `failed` | no handshake, or no answer: why? |
//! | `server` | what can a server tell that knows nothing of its client? |
//! | `finding`, `advice` | how is it said, and what is the next step? |
//! | `commands`, `errno` | commands to paste, names of errors |

mod accepted;
mod advice;
mod client;
mod commands;
mod errno;
mod facts;
mod failed;
mod finding;
mod server;

use self::facts::{Facts, View};
use super::{Blame, Cause, Evidence, Outcome, Saved, ServerEvidence, Verdict};

/// Judges the evidence of one connection: what happened, why, and what to do next.
///
/// ```no_run
/// use tfo_core::diagnosis::{Evidence, Outcome, judge};
/// use tfo_core::probe::Probe;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let seen = Probe::new("192.0.2.1:2222".parse()?).run(b"hello\n");
/// let verdict = judge(&Evidence::new(Some(seen.evidence), None));
/// if verdict.outcome != Outcome::FastOpen {
///     println!("{verdict} {}", verdict.advice);
/// }
/// # Ok(())
/// # }
/// ```
///
/// The verdict is seen from the client if the client's half is present, else from the
/// server's: [`Blame::ThisHost`] is then the host of that half. Without both halves
/// it is [`Outcome::Failed`], and says that there is no evidence.
///
/// It rests on bits and never on times, and a cause that the evidence can't settle is never guessed:
/// see [`Verdict::candidates`].
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let facts = Facts::new(evidence);
    match (facts.client, facts.server) {
        (Some(client), _) => client::judge(&facts, client),
        (None, Some(server)) => server::judge(&facts, server),
        (None, None) => no_evidence(),
    }
}

/// Returns the verdict on a connection that [`classify`](super::classify) has settled from its server's side: the
/// outcome with finding and advice.
#[must_use]
pub fn in_words(outcome: Outcome, server: &ServerEvidence) -> Verdict {
    server::in_words(&Facts::of_server(server), server, outcome)
}

/// The verdict when there is no evidence.
pub(super) fn no_evidence() -> Verdict {
    Ruling::new(
        Outcome::Failed,
        "There is no evidence: neither end of the connection was looked at",
    )
    .blame(Blame::Unknown)
    .verdict("Make a connection first: `tfo-client -s HOST -n 3`.")
}

/// A verdict in the making: outcome and finding first, then what is known beyond them.
#[derive(Debug)]
struct Ruling {
    outcome: Outcome,
    cause: Option<Cause>,
    blame: Option<Blame>,
    candidates: Vec<Cause>,
    complete: bool,
    saved: Option<Saved>,
    unanswered: bool,
    finding: String,
}

impl Ruling {
    fn new(outcome: Outcome, finding: impl Into<String>) -> Self {
        Self {
            outcome,
            cause: None,
            blame: None,
            candidates: Vec::new(),
            complete: false,
            saved: None,
            unanswered: false,
            finding: finding.into(),
        }
    }

    /// Sets the cause, and the blame that goes with it.
    fn cause(mut self, cause: Cause, view: View) -> Self {
        self.cause = Some(cause);
        self.blame(blame(cause, view))
    }

    fn blame(mut self, blame: Blame) -> Self {
        self.blame = Some(blame);
        self
    }

    /// Lists all causes that remain: one of them was it. The blame is theirs where they agree on it.
    fn candidates(mut self, candidates: &[Cause], view: View) -> Self {
        debug_assert_ne!(candidates.len(), 1, "a single candidate is the cause");
        self.complete = true;
        self.candidates = candidates.to_vec();
        let mut blames = candidates.iter().map(|&cause| blame(cause, view));
        let first = blames.next();
        let agreed = first.filter(|first| blames.all(|other| other == *first));
        self.blame(agreed.unwrap_or(Blame::Unknown))
    }

    /// Lists causes that may have been it, among others that have no word. Nobody is blamed.
    fn possible(mut self, candidates: &[Cause]) -> Self {
        self.candidates = candidates.to_vec();
        self.blame(Blame::Unknown)
    }

    fn saved(mut self, saved: Option<Saved>) -> Self {
        self.saved = saved;
        self
    }

    fn unanswered(mut self, unanswered: bool) -> Self {
        self.unanswered = unanswered;
        self
    }

    /// Ends the finding's sentence and adds the next step.
    fn verdict(self, advice: impl Into<String>) -> Verdict {
        Verdict {
            outcome: self.outcome,
            cause: self.cause,
            blame: self.blame,
            candidates_complete: self.complete && !self.candidates.is_empty(),
            candidates: self.candidates,
            saved: self.saved,
            unanswered: self.unanswered,
            finding: format!("{}.", self.finding),
            advice: advice.into(),
        }
    }
}

/// Returns the blame for a cause, unless a rule has a better one.
fn blame(cause: Cause, view: View) -> Blame {
    let (client, server) = match view {
        View::Client => (Blame::ThisHost, Blame::Peer),
        View::Server => (Blame::Peer, Blame::ThisHost),
    };
    match cause {
        Cause::DisabledByConfig
        | Cause::ClientDisabled
        | Cause::PausedByBlackhole
        | Cause::PausedByProgram
        | Cause::ClientWithoutCookies => client,
        Cause::ServerDisabled
        | Cause::ServerSyncookies
        | Cause::ServerWithoutCookies
        | Cause::QueueFull
        | Cause::KeyMismatch
        | Cause::AcceptQueueFull
        | Cause::Refused => server,
        Cause::OptionStripped
        | Cause::SynDataStripped
        | Cause::SynAckOptionStripped
        | Cause::CookieCorrupted
        | Cause::AddressTranslated
        | Cause::DestinationTranslated
        | Cause::Proxied
        | Cause::PathMtuExceeded
        | Cause::PartlyAcknowledged
        | Cause::ResetOnSynData
        | Cause::DeadAfterSynData => Blame::Path,
        Cause::NoCookieReturned
        | Cause::CookieRejected
        | Cause::DataNotAcked
        | Cause::SynRetransmitted
        | Cause::TimedOut
        | Cause::RegularFailsToo
        | Cause::Unreachable => Blame::Unknown,
    }
}
