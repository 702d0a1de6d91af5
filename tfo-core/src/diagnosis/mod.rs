//! Turns evidence into verdicts: no I/O, no clock, no sockets.
//!
//! [`judge`] is the decision table of this project: which signal settles what. It begins with [`classify`], which
//! sees the bits alone, for programs that have very many connections or did not watch them begin.
//! [`summarize`] adds what only a sequence of connections tells, [`balance`] counts the servers' keys behind
//! one address, [`HitRate`] is the one definition of that word, and the [`manual`] has a page for each verdict and cause.

mod balance;
mod classify;
mod evidence;
mod hit_rate;
mod judge;
pub mod manual;
pub mod rules;
mod summary;
mod verdict;

pub use balance::{Balance, KeyEstimate, SeenCookie, balance};
pub use classify::{End, Side, classify};
pub use evidence::{
    CachedCookie, ClientEvidence, CookieAddresses, CookieOrigin, Ending, Evidence, RegularCheck,
    Repetition, SentData, ServerCounters, ServerEvidence, ServerHost, SynTimestamps,
};
pub use hit_rate::HitRate;
pub use judge::{in_words, judge};
pub use summary::{Summary, summarize};
pub use verdict::{Blame, Cause, Outcome, Saved, Verdict};
