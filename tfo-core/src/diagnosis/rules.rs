//! The rules. One function a question, in the order in which they settle it.

use super::{Evidence, Verdict};

/// What happened to the connection that this evidence is of, and why.
///
/// The verdict is told from the client's side when the client's half is there, else from the
/// server's.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let _ = evidence;
    todo!()
}
