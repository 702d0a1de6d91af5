//! The verdict on a connection of another program, from its packets alone.

use serde::Serialize;
use tfo_core::capture::{Handshake, PacketPath};
use tfo_core::diagnosis::{Cause, Outcome};

/// What the packets of a connection prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Observed {
    #[serde(rename = "verdict")]
    pub(super) outcome: Outcome,
    pub(super) cause: Option<Cause>,
    pub(super) finding: String,
}

impl Observed {
    /// Returns the verdict. `None`: the packets leave it open.
    pub(super) fn of(packets: &[PacketPath]) -> Option<Self> {
        Handshake::of(packets).and_then(of_handshake)
    }

    /// Returns the verdict with its cause, in the words of the documentation.
    pub(super) fn in_words(&self) -> String {
        match self.cause {
            Some(cause) => format!("{} ({cause})", self.outcome),
            None => self.outcome.to_string(),
        }
    }
}

fn of_handshake(seen: Handshake) -> Option<Observed> {
    let tries = seen.cookie.is_some() || seen.syn_data > 0;
    let asks = seen.cookie == Some(0);
    let data = seen.syn_data;
    let (outcome, cause, finding) = match seen.syn_ack {
        None if seen.refused => {
            (Outcome::Failed, Some(Cause::Refused), "A reset answered the SYN.".to_owned())
        }
        None => (Outcome::Failed, None, "No SYN-ACK reached the client.".to_owned()),
        Some(_) if !tries => {
            let finding = "The SYN had neither a fast open option nor data.".to_owned();
            (Outcome::NotAttempted, None, finding)
        }
        Some(answer) if answer.acknowledged > 0 => {
            let of = if answer.acknowledged == data { "all" } else { "part" };
            let finding =
                format!("The SYN-ACK acknowledged {of} of the {data} B of data in the SYN.");
            (Outcome::FastOpen, None, finding)
        }
        Some(_) if data > 0 && seen.syns > 1 => {
            let finding = "The SYN was sent again, and the SYN-ACK did not acknowledge its data.";
            (Outcome::Fallback, Some(Cause::SynRetransmitted), finding.to_owned())
        }
        Some(_) if data > 0 => {
            let finding = "The SYN-ACK acknowledged the SYN, and not its data.".to_owned();
            (Outcome::Fallback, Some(Cause::DataNotAcked), finding)
        }
        Some(answer) if asks && answer.cookie => {
            let finding = "The SYN asked for a cookie, and the SYN-ACK brought one.".to_owned();
            (Outcome::CookieGranted, None, finding)
        }
        Some(_) if asks => {
            let finding = "The SYN asked for a cookie, and the SYN-ACK brought none.".to_owned();
            (Outcome::Fallback, Some(Cause::NoCookieReturned), finding)
        }
        // A cookie without data: there was nothing to accept.
        Some(_) => return None,
    };
    let silent = seen.syn_ack.is_some() && !seen.answered;
    let finding = finding + if silent { " The server sent no data." } else { "" };
    Some(Observed { outcome, cause, finding })
}
