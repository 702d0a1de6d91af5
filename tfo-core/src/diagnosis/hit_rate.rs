//! The hit rate: one definition for all reports.

use super::Outcome;

/// The hit rate of connections: of those that tried fast open, other than those that fetched a cookie, the share that
/// used it.
///
/// A connection that is [`FastOpen`](Outcome::FastOpen) is a hit, one that is [`Fallback`](Outcome::Fallback) or
/// [`Failed`](Outcome::Failed) a miss. One that only fetched a cookie ([`CookieGranted`](Outcome::CookieGranted)) could
/// not hit yet, and one that did not try ([`NotAttempted`](Outcome::NotAttempted)) is neither.
///
/// ```
/// use tfo_core::diagnosis::{HitRate, Outcome};
///
/// let counts = [(Outcome::FastOpen, 3), (Outcome::Fallback, 1), (Outcome::CookieGranted, 1)];
/// assert_eq!(counts.into_iter().collect::<HitRate>().share(), Some(0.75));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HitRate {
    /// Connections that used fast open.
    pub hits: u64,
    /// Connections that tried fast open without success.
    pub misses: u64,
}

impl HitRate {
    /// Returns whether a connection with this outcome is a hit; `None`: it is neither a hit nor a miss.
    #[must_use]
    pub const fn is_hit(outcome: Outcome) -> Option<bool> {
        match outcome {
            Outcome::FastOpen => Some(true),
            Outcome::Fallback | Outcome::Failed => Some(false),
            Outcome::CookieGranted | Outcome::NotAttempted => None,
        }
    }

    /// Adds `count` connections with this outcome.
    pub fn add(&mut self, outcome: Outcome, count: u64) {
        match Self::is_hit(outcome) {
            Some(true) => self.hits = self.hits.saturating_add(count),
            Some(false) => self.misses = self.misses.saturating_add(count),
            None => {}
        }
    }

    /// Returns the share, from 0 to 1. `None`: no connection tried.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub fn share(&self) -> Option<f64> {
        let tried = self.hits.saturating_add(self.misses);
        (tried > 0).then(|| self.hits as f64 / tried as f64)
    }
}

impl FromIterator<(Outcome, u64)> for HitRate {
    fn from_iter<I: IntoIterator<Item = (Outcome, u64)>>(counts: I) -> Self {
        let mut rate = Self::default();
        for (outcome, count) in counts {
            rate.add(outcome, count);
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_that_could_not_hit_is_neither_hit_nor_miss() {
        let counts = [
            (Outcome::FastOpen, 6),
            (Outcome::Fallback, 1),
            (Outcome::Failed, 1),
            (Outcome::CookieGranted, 50),
            (Outcome::NotAttempted, 900),
        ];
        assert_eq!(counts.into_iter().collect::<HitRate>().share(), Some(0.75));
        assert_eq!(counts[3..].iter().copied().collect::<HitRate>().share(), None);
    }
}
