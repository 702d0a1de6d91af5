//! The manual: a page for each verdict, each cause and each fault of a path, which `tfo-client explain` shows. The
//! tables of the README are made of the pages' first lines.
//!
//! A page is a Markdown file of this folder: the word as its title, a sentence of what it means, a
//! line `Help: …` of what helps, then the four [sections](Section). What a cause requires, and which other causes
//! that excludes, is not written there: it comes from the [table of rules](super::rules).
//!
//! ```
//! use tfo_core::diagnosis::Cause;
//! use tfo_core::diagnosis::manual::{Section, Topic};
//!
//! let page = Topic::Cause(Cause::QueueFull).page();
//! println!("{}\n\n{}", page.summary(), page.section(Section::WhatToDo));
//! assert_eq!(Topic::named("queue-full"), Some(Topic::Cause(Cause::QueueFull)));
//! ```

mod faults;
mod proof;

use std::fmt;

use self::faults::FAULTS;
pub use self::proof::{Broader, Fact, Proof, Rival};
use super::{Cause, Outcome};

/// A word that has a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// What happened to a connection.
    Outcome(Outcome),
    /// Why it happened.
    Cause(Cause),
    /// What `tfo-client path` finds between two hops.
    Fault(&'static str),
}

impl Topic {
    /// Returns all topics: the verdicts, the causes, then the faults.
    pub fn all() -> impl Iterator<Item = Self> {
        let outcomes = Outcome::ALL.iter().copied().map(Self::Outcome);
        let causes = Cause::ALL.iter().copied().map(Self::Cause);
        outcomes.chain(causes).chain(FAULTS.iter().map(|(word, _)| Self::Fault(word)))
    }

    /// Returns the topic of this word, if there is one.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::all().find(|topic| topic.as_str() == word)
    }

    /// Returns the word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outcome(outcome) => outcome.as_str(),
            Self::Cause(cause) => cause.as_str(),
            Self::Fault(word) => word,
        }
    }

    /// Returns the page of the manual.
    #[must_use]
    pub fn page(self) -> Page {
        Page { topic: self, text: text(self) }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A part of each page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Section {
    /// The packets, as a small ladder.
    OnTheWire,
    /// What proves it.
    Evidence,
    /// Who usually does it.
    WhoDoesIt,
    /// What to do, with the commands.
    WhatToDo,
}

impl Section {
    /// All sections, in their order.
    pub const ALL: &[Self] = &[Self::OnTheWire, Self::Evidence, Self::WhoDoesIt, Self::WhatToDo];

    /// Returns the heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::OnTheWire => "On the wire",
            Self::Evidence => "Evidence",
            Self::WhoDoesIt => "Typical sources",
            Self::WhatToDo => "What to do",
        }
    }
}

/// A page of the manual: what it says about one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    topic: Topic,
    text: &'static str,
}

impl Page {
    /// Returns the word that the page is about.
    #[must_use]
    pub const fn topic(self) -> Topic {
        self.topic
    }

    /// Returns the page as Markdown.
    #[must_use]
    pub const fn markdown(self) -> &'static str {
        self.text
    }

    /// Returns the meaning of the word: one sentence without its final dot.
    #[must_use]
    pub fn summary(self) -> &'static str {
        self.head().find(|line| !line.starts_with("# ")).unwrap_or_default()
    }

    /// Returns what helps, in a few words.
    #[must_use]
    pub fn help(self) -> &'static str {
        self.head().find_map(|line| line.strip_prefix("Help: ")).unwrap_or_default()
    }

    /// Returns a section's text: paragraphs, and blocks between lines of three backticks. No line of it has
    /// more than 78 characters.
    #[must_use]
    pub fn section(self, section: Section) -> &'static str {
        let mut sections = self.sections();
        let found = sections.find_map(|(title, body)| (title == section.title()).then_some(body));
        found.unwrap_or_default()
    }

    /// Returns what the rules require of a cause, by symptom. Empty where the bits of the connection show it directly.
    #[must_use]
    pub fn proofs(self) -> Vec<Proof> {
        match self.topic {
            Topic::Cause(cause) => proof::proofs(cause),
            Topic::Outcome(_) | Topic::Fault(_) => Vec::new(),
        }
    }

    /// Returns what a broader word stands for, by symptom. Empty for all others.
    #[must_use]
    pub fn broader_than(self) -> Vec<Broader> {
        match self.topic {
            Topic::Cause(cause) => proof::broader(cause),
            Topic::Outcome(_) | Topic::Fault(_) => Vec::new(),
        }
    }

    fn head(self) -> impl Iterator<Item = &'static str> {
        let head = self.text.split("\n## ").next().unwrap_or_default();
        head.lines().filter(|line| !line.is_empty())
    }

    fn sections(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let sections = self.text.split("\n## ").skip(1);
        sections
            .filter_map(|section| section.split_once('\n'))
            .map(|(title, body)| (title, body.trim()))
    }
}

/// The compiler holds that each word has its file.
fn text(topic: Topic) -> &'static str {
    match topic {
        Topic::Outcome(Outcome::FastOpen) => include_str!("fast-open.md"),
        Topic::Outcome(Outcome::CookieGranted) => include_str!("cookie-granted.md"),
        Topic::Outcome(Outcome::Fallback) => include_str!("fallback.md"),
        Topic::Outcome(Outcome::NotAttempted) => include_str!("not-attempted.md"),
        Topic::Outcome(Outcome::Failed) => include_str!("failed.md"),
        Topic::Cause(Cause::NoCookieReturned) => include_str!("no-cookie-returned.md"),
        Topic::Cause(Cause::CookieRejected) => include_str!("cookie-rejected.md"),
        Topic::Cause(Cause::DataNotAcked) => include_str!("data-not-acked.md"),
        Topic::Cause(Cause::SynRetransmitted) => include_str!("syn-retransmitted.md"),
        Topic::Cause(Cause::DisabledByConfig) => include_str!("disabled-by-config.md"),
        Topic::Cause(Cause::ClientDisabled) => include_str!("client-disabled.md"),
        Topic::Cause(Cause::PausedByBlackhole) => include_str!("paused-by-blackhole.md"),
        Topic::Cause(Cause::PausedByProgram) => include_str!("paused-by-program.md"),
        Topic::Cause(Cause::Refused) => include_str!("refused.md"),
        Topic::Cause(Cause::ResetOnSynData) => include_str!("reset-on-syn-data.md"),
        Topic::Cause(Cause::TimedOut) => include_str!("timed-out.md"),
        Topic::Cause(Cause::DeadAfterSynData) => include_str!("dead-after-syn-data.md"),
        Topic::Cause(Cause::Unreachable) => include_str!("unreachable.md"),
        Topic::Cause(Cause::OptionStripped) => include_str!("option-stripped.md"),
        Topic::Cause(Cause::SynDataStripped) => include_str!("syn-data-stripped.md"),
        Topic::Cause(Cause::SynAckOptionStripped) => include_str!("syn-ack-option-stripped.md"),
        Topic::Cause(Cause::ServerDisabled) => include_str!("server-disabled.md"),
        Topic::Cause(Cause::ServerSyncookies) => include_str!("server-syncookies.md"),
        Topic::Cause(Cause::ServerWithoutCookies) => include_str!("server-without-cookies.md"),
        Topic::Cause(Cause::QueueFull) => include_str!("queue-full.md"),
        Topic::Cause(Cause::KeyMismatch) => include_str!("key-mismatch.md"),
        Topic::Cause(Cause::CookieCorrupted) => include_str!("cookie-corrupted.md"),
        Topic::Cause(Cause::AddressTranslated) => include_str!("address-translated.md"),
        Topic::Cause(Cause::DestinationTranslated) => include_str!("destination-translated.md"),
        Topic::Cause(Cause::Proxied) => include_str!("proxied.md"),
        Topic::Cause(Cause::PathMtuExceeded) => include_str!("path-mtu-exceeded.md"),
        Topic::Cause(Cause::PartlyAcknowledged) => include_str!("partly-acknowledged.md"),
        Topic::Cause(Cause::ClientWithoutCookies) => include_str!("client-without-cookies.md"),
        Topic::Cause(Cause::AcceptQueueFull) => include_str!("accept-queue-full.md"),
        Topic::Cause(Cause::RegularFailsToo) => include_str!("regular-fails-too.md"),
        Topic::Fault(word) => {
            let page = FAULTS.iter().find(|(known, _)| *known == word);
            page.map_or("", |(_, text)| text)
        }
    }
}

#[cfg(test)]
mod tests;
