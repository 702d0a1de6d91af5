//! The rules as data: which signs each cause requires, and so which of them exclude it.
//!
//! A [`Sign`] is a fact that the evidence shows, denies, or leaves open. A [`Rule`] lists the signs that a cause
//! leaves whenever it acted on a connection. A cause is excluded as soon as the evidence contradicts one of them;
//! what is not excluded is a candidate, and a cause is stated only if it is the last one. Counting what could have
//! happened instead of what looks likely is what keeps a verdict true.
//!
//! Causes that follow one another on the way of a packet exclude each other: an option that was removed on its way
//! never meets the server's full queue. Rules of one [`Symptom`] therefore require what the earlier causes deny.

mod sign;
mod table;

pub use sign::Sign;
pub use table::{BROADER, RULES};

use super::Cause;

/// A symptom: how the connection looked from the end of the verdict. Rules explain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Symptom {
    /// A cookie was asked for, and none came back.
    NoCookie,
    /// The SYN-ACK did not acknowledge the data of the SYN.
    DataNotAcked,
    /// The SYN with the option or with data got no answer, and one without them did.
    SynRepeated,
    /// The SYN with data was answered by a reset or by an ICMP error.
    Refused,
    /// The SYN with data was never answered.
    NoHandshake,
    /// The handshake ended, and no answer came.
    NoAnswer,
}

impl Symptom {
    /// All symptoms.
    pub const ALL: &[Self] = &[
        Self::NoCookie,
        Self::DataNotAcked,
        Self::SynRepeated,
        Self::Refused,
        Self::NoHandshake,
        Self::NoAnswer,
    ];

    /// Returns what was seen, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCookie => "a cookie was asked for and none came back",
            Self::DataNotAcked => "the SYN-ACK did not acknowledge the data of the SYN",
            Self::SynRepeated => "the SYN got no answer and had to be retransmitted",
            Self::Refused => "the SYN was answered by a reset or an ICMP error",
            Self::NoHandshake => "the SYN was never answered",
            Self::NoAnswer => "the handshake ended, and no answer came",
        }
    }
}

/// One way in which a cause explains a symptom. A cause may have several rules; one that is left is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// What it explains.
    pub symptom: Symptom,
    /// What acted.
    pub cause: Cause,
    /// The signs that it leaves, each with whether the sign is there.
    pub requires: &'static [(Sign, bool)],
}

impl Rule {
    /// The first sign of the evidence that excludes this rule.
    pub fn excluded_by(&self, read: impl Fn(Sign) -> Option<bool>) -> Option<(Sign, bool)> {
        let contradicted = |(sign, there): &(Sign, bool)| read(*sign) == Some(!there);
        self.requires.iter().copied().find(contradicted).map(|(sign, there)| (sign, !there))
    }
}

/// Returns the causes of a symptom that the evidence does not exclude, in the order of the table.
pub fn candidates(symptom: Symptom, read: impl Fn(Sign) -> Option<bool>) -> Vec<Cause> {
    let mut left = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.symptom == symptom) {
        if !left.contains(&rule.cause) && rule.excluded_by(&read).is_none() {
            left.push(rule.cause);
        }
    }
    left
}
