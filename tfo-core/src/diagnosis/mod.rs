//! Evidence in, verdict out: no I/O, no clock, no sockets.
//!
//! [`judge`] is the decision table of this project: which signal settles what.

mod evidence;
mod rules;
mod verdict;

pub use evidence::{
    ArrivedOption, ArrivedSyn, Attempt, CachedCookie, ClientEvidence, Ending, Evidence,
    RegularCheck, SavedSynEvidence, ServerCounters, ServerEvidence, ServerHost, TcpBits,
};
pub use rules::judge;
pub use verdict::{Blame, Cause, Outcome, Verdict};
