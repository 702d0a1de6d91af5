//! Evidence in, verdict out: no I/O, no clock, no sockets.
//!
//! [`judge`] is the decision table of this project: which signal settles what. [`summarize`] adds what
//! only a sequence of connections tells, [`balance`] counts the servers' keys behind one address, and
//! the [`manual`] has a page for each verdict and cause. [`judge_open`] says what the bits of a connection
//! tell that nobody has watched, [`judge_answered`] what those of one among very many say.

mod answered;
mod balance;
mod evidence;
mod judge;
pub mod manual;
mod open;
mod summary;
mod verdict;

pub use answered::judge_answered;
pub use balance::{Balance, SeenCookie, balance};
pub use evidence::{
    ArrivedOption, ArrivedSyn, CachedCookie, ClientEvidence, Ending, Evidence, RegularCheck,
    SavedSynEvidence, ServerCounters, ServerEvidence, ServerHost, TcpBits,
};
pub(crate) use judge::is_overwritten;
pub use judge::judge;
pub use open::{End, OpenVerdict, judge_open};
pub use summary::{Summary, summarize};
pub use verdict::{Blame, Cause, Outcome, Verdict};
